//! A network of one's own, trained by BiDST at 90% zeros.
//!
//! `cargo run --release -p bidst --example custom_network`

use std::error::Error;

use bidst::model::{ConvOptions, Graph, GraphBuilder, ModelError, NodeId, Shape};
use bidst::topology::algorithms::Listed;
use bidst::train::{Event, Trainer, config::Builder};

fn conv_bn(net: &mut GraphBuilder, name: &str, x: NodeId, options: ConvOptions) -> NodeId {
    let x = net.conv(format!("{name}.conv"), x, options);
    net.batch_normalization(format!("{name}.bn"), x)
}

/// A stem, one residual block, and a classifier.
fn network(input: Shape, classes: usize) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("one-block", input);
    let x = net.input();
    let x = conv_bn(&mut net, "stem", x, ConvOptions::new(16, 5).stride(2));
    let x = net.relu("stem.relu", x);
    let y = conv_bn(&mut net, "block.a", x, ConvOptions::new(16, 3));
    let y = net.relu("block.relu", y);
    let y = conv_bn(&mut net, "block.b", y, ConvOptions::new(16, 3));
    let x = net.add("block.add", x, y);
    let x = net.relu("block.out", x);
    let x = net.global_average_pool("pool", x);
    net.gemm("classifier", x, classes, true);
    net.finish()
}

/// Trains it for an epoch.
pub fn main() -> Result<(), Box<dyn Error>> {
    let config = Builder::new().set("sparsity.level=0.9").set("train.epochs=1").finish()?;
    let data = bidst::data::open(&config.data.name, None)?;
    let input = Shape::new(data.train.channels, data.train.height, data.train.width);
    let graph = network(input, data.train.classes)?;
    let bidst = Listed { name: "bidst".into(), options: config.algorithm.parameters.clone() };
    let mut trainer = Trainer::of(config, data, graph, &bidst)?;
    trainer.epoch(&mut |event: Event<'_>| {
        if let Event::Epoch { record } = event {
            println!("{:.1}% of the test images are right", 100.0 * record.test_accuracy);
        }
        Ok(())
    })?;
    for weight in trainer.network().weights() {
        println!("{:18} {:5} of {:5} weights", weight.name(), weight.nnz(), weight.len());
    }
    assert!((trainer.totals().sparsified() - 0.9).abs() < 0.001);
    Ok(())
}
