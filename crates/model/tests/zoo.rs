//! The zoo against the literature's counts.

use bidst_model::zoo::{self, Options};
use bidst_model::{Graph, ModelError, NodeId, Op, Shape, WeightSpec};

fn options(width: f64, classes: usize) -> Options {
    Options { width, classes, input: Shape::new(3, 32, 32) }
}

fn build(name: &str, width: f64, classes: usize) -> Graph {
    zoo::build(name, &options(width, classes)).unwrap()
}

/// A network for 224x224 images and 1000 classes.
fn imagenet(name: &str, width: f64) -> Graph {
    zoo::build(name, &Options { width, classes: 1000, input: Shape::new(3, 224, 224) }).unwrap()
}

/// Multiply-adds of the 7x7 convolution with stride 2 from 3 to 64 channels.
const IMAGENET_STEM: u64 = 112 * 112 * 64 * 3 * 49;

fn weight_count(graph: &Graph) -> usize {
    graph.weights().iter().map(WeightSpec::len).sum()
}

fn millions(macs: u64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (macs as f64 / 1e6 * unit).round() / unit
}

#[test]
fn resnet32_of_width_2_has_the_published_size() {
    let ten = build("resnet32", 2.0, 10);
    assert_eq!(ten.parameter_count(), 1_860_522);
    assert_eq!(weight_count(&ten), 1_855_584);
    assert_eq!(ten.weights().len(), 34);
    assert_eq!(millions(ten.macs(), 2), 275.61);
    let hundred = build("resnet32", 2.0, 100);
    assert_eq!(hundred.parameter_count(), 1_872_132);
    assert_eq!(weight_count(&hundred), 1_867_104);
    assert_eq!(millions(hundred.macs(), 2), 275.62);
}

#[test]
fn the_profiles_of_resnet32_sparsify_1_843_200_weights() {
    let graph = build("resnet32", 2.0, 10);
    let sparse: Vec<_> =
        graph.weights().into_iter().filter(|w| w.name.starts_with("layer") && !w.name.contains("downsample")).collect();
    assert_eq!(sparse.len(), 30);
    assert_eq!(sparse.iter().map(WeightSpec::len).sum::<usize>(), 1_843_200);
}

#[test]
fn vgg19_has_the_published_size() {
    let ten = build("vgg19", 1.0, 10);
    assert_eq!(ten.parameter_count(), 20_035_018);
    assert_eq!(weight_count(&ten), 20_024_000);
    assert_eq!(millions(ten.macs(), 1), 398.1);
    let hundred = build("vgg19", 1.0, 100);
    assert_eq!(hundred.parameter_count(), 20_081_188);
    assert_eq!(weight_count(&hundred), 20_070_080);
    assert_eq!(millions(hundred.macs(), 1), 398.2);
}

#[test]
fn depth_names_count_the_layers_outside_shortcuts() {
    for (name, depth) in [("resnet20", 20), ("resnet32", 32), ("resnet56", 56), ("resnet34", 34), ("resnet50", 50)] {
        let graph = build(name, 1.0, 10);
        let main_path = graph.weights().iter().filter(|w| !w.name.contains("downsample")).count();
        assert_eq!(main_path, depth);
    }
}

#[test]
fn the_plain_resnet32_has_less_than_half_a_million_parameters() {
    assert_eq!((build("resnet32", 1.0, 10).parameter_count() as f64 / 1e6 * 1e3).round(), 467.0);
}

#[test]
fn the_shortcut_projects_only_where_the_shape_changes() {
    for (name, stages) in [("resnet20", &[2, 3][..]), ("resnet34", &[2, 3, 4]), ("resnet50", &[1, 2, 3, 4])] {
        let graph = build(name, 1.0, 10);
        let projections: Vec<String> =
            graph.weights().into_iter().filter(|w| w.name.contains("downsample")).map(|w| w.name).collect();
        let expected: Vec<String> = stages.iter().map(|s| format!("layer{s}.0.downsample.conv.weight")).collect();
        assert_eq!(projections, expected, "{name}");
    }
}

/// Parameters and GFLOPS (in fact multiply-adds) are those of torchvision's `ResNet34_Weights.IMAGENET1K_V1`. The exact
/// multiply-adds follow from table 1 of He et al.: where channels double, the image has a quarter of the pixels, so a
/// 3x3 convolution within a stage costs the same in all stages.
#[test]
fn resnet34_has_torchvisions_size() {
    let graph = imagenet("resnet34", 1.0);
    assert_eq!(graph.parameter_count(), 21_797_672);
    assert_eq!(weight_count(&graph), 21_779_648);
    let within_a_stage = 56 * 56 * 64 * 64 * 9;
    let into_a_stage = within_a_stage / 2;
    let projection = 28 * 28 * 64 * 128;
    let stages = (6 + 7 + 11 + 5) * within_a_stage + 3 * (into_a_stage + projection);
    assert_eq!(graph.macs(), IMAGENET_STEM + stages + 512 * 1000);
    assert_eq!(millions(graph.macs(), 0), 3664.0);
}

/// As [`resnet34_has_torchvisions_size`], with `ResNet50_Weights.IMAGENET1K_V1`; with the stride in the first 1x1
/// convolution of a block it would be 3.86 GFLOPS. The unit is a 1x1 convolution from 64 to 64 channels on 56x56
/// pixels.
#[test]
fn resnet50_has_torchvisions_size() {
    let graph = imagenet("resnet50", 1.0);
    assert_eq!(graph.parameter_count(), 25_557_032);
    assert_eq!(weight_count(&graph), 25_502_912);
    let unit = 56 * 56 * 64 * 64;
    let block = 4 + 9 + 4;
    let first = (1 + 9 + 4) + 4;
    let strided = (8 + 9 + 4) + 8;
    let stages = (first + 2 * block) + (strided + 3 * block) + (strided + 5 * block) + (strided + 2 * block);
    assert_eq!(graph.macs(), IMAGENET_STEM + stages * unit + 2048 * 1000);
    assert_eq!(millions(graph.macs(), 0), 4089.0);
}

/// Counted in PyTorch on the same architecture.
#[test]
fn resnet50_of_half_width_has_the_size_of_its_pytorch_counterpart() {
    let graph = imagenet("resnet50", 0.5);
    assert_eq!((graph.parameter_count(), graph.macs()), (6_917_640, 1_052_311_552));
}

#[test]
fn the_stages_of_the_imagenet_resnets_end_with_56_28_14_and_7_pixels_a_side() {
    for (name, expansion) in [("resnet34", 1), ("resnet50", 4)] {
        let graph = imagenet(name, 1.0);
        for (stage, (last_block, side)) in [(2, 56), (3, 28), (5, 14), (2, 7)].into_iter().enumerate() {
            let sum = format!("layer{}.{last_block}.add", stage + 1);
            let node = graph.nodes().iter().find(|node| node.name == sum).unwrap();
            assert_eq!(node.shape, Shape::new((64 << stage) * expansion, side, side), "{name} {sum}");
        }
    }
}

/// Counted in PyTorch on the same architecture: all parameters, the weights among them, and multiply-adds.
#[test]
fn mobilenet_v2_has_the_size_of_its_pytorch_counterpart() {
    let counts = |width| {
        let graph = build("mobilenet-v2", width, 10);
        (graph.parameter_count(), weight_count(&graph), graph.macs())
    };
    assert_eq!(counts(1.0), (2_236_682, 2_202_560, 87_976_448));
    assert_eq!(counts(0.5), (697_258, 678_912, 25_333_248));
    assert_eq!(counts(2.0), (7_888_138, 7_822_464, 325_231_104));
}

#[test]
fn mobilenet_v2_filters_channels_on_their_own_and_projects_linearly() {
    let graph = build("mobilenet-v2", 1.0, 10);
    let count = |wanted: fn(&Op) -> bool| graph.nodes().iter().filter(|node| wanted(&node.op)).count();
    assert_eq!(count(|op| matches!(op, Op::Clip { max: 6.0 })), 2 + 17 + 16);
    assert_eq!(count(|op| matches!(op, Op::Relu)), 0);
    assert_eq!(count(|op| matches!(op, Op::Add)), 10);
    let depthwise: Vec<WeightSpec> =
        graph.weights().into_iter().filter(|w| w.name.ends_with(".depthwise.conv.weight")).collect();
    assert_eq!(depthwise.len(), 17);
    assert!(depthwise.iter().all(|w| w.shape[1..] == [1, 3, 3]));
    for (at, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.name.ends_with(".project.bn")) {
        let readers = graph.consumers(NodeId(at));
        let activated = readers.iter().any(|&reader| matches!(graph.node(reader).op, Op::Clip { .. }));
        assert!(!activated, "{}", node.name);
    }
}

#[test]
fn small_cnn_is_cheap_and_nearly_all_3x3() {
    let entry = zoo::list().iter().find(|e| e.name == "small-cnn").unwrap();
    let graph = zoo::build("small-cnn", &Options { width: 1.0, classes: 10, input: entry.input }).unwrap();
    assert!((5_000_000..8_000_000).contains(&graph.macs()));
    let filters: usize = graph.weights().iter().filter(|w| w.shape.ends_with(&[3, 3])).map(WeightSpec::len).sum();
    assert!(filters * 100 > weight_count(&graph) * 98);
}

#[test]
fn mlp_takes_any_image_and_has_biases() {
    let graph = build("mlp", 1.0, 10);
    assert_eq!(graph.parameter_count(), 3072 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10);
    assert_eq!(graph.macs(), graph.weights().iter().map(|w| w.len() as u64).sum::<u64>());
}

#[test]
fn every_model_builds_for_its_default_input_and_several_widths() {
    for entry in zoo::list() {
        for width in [0.01, 0.5, 1.0, 1.3] {
            let options = Options { width, classes: 7, input: entry.input };
            let graph = zoo::build(entry.name, &options).unwrap();
            assert_eq!(graph.name(), entry.name);
            assert_eq!(graph.classes(), 7);
            assert_eq!(graph.input_shape(), entry.input);
        }
    }
}

#[test]
fn no_convolution_before_batch_normalization_has_a_bias() {
    for entry in zoo::list() {
        let options = Options { width: 1.0, classes: 10, input: entry.input };
        let graph = zoo::build(entry.name, &options).unwrap();
        for node in graph.nodes() {
            if matches!(node.op, Op::BatchNormalization { .. }) {
                let before = &graph.node(node.inputs[0]).op;
                assert!(matches!(before, Op::Conv { bias: false, .. }), "{}", node.name);
            }
        }
    }
}

#[test]
fn an_unknown_model_names_the_nearest_and_all() {
    let error = zoo::build("resnet23", &options(1.0, 10)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("did you mean `resnet20`"), "{message}");
    for entry in zoo::list() {
        assert!(message.contains(entry.name), "{message}");
    }
}

#[test]
fn impossible_options_are_refused() {
    for width in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = zoo::build("mlp", &options(width, 10)).unwrap_err();
        assert!(matches!(error, ModelError::Width { model: "mlp", .. }));
    }
    let error = zoo::build("vgg19", &options(1.0, 1)).unwrap_err();
    assert!(matches!(error, ModelError::Classes { classes: 1, .. }));
    for entry in zoo::list() {
        for width in [1e12, f64::MAX] {
            let error = zoo::build(entry.name, &options(width, 10)).unwrap_err();
            assert!(matches!(error, ModelError::TooLarge { .. }), "{}: {error}", entry.name);
        }
    }
}

#[test]
fn images_too_small_for_vgg_are_refused_at_the_pool() {
    let small = Options { width: 1.0, classes: 10, input: Shape::new(1, 28, 28) };
    let error = zoo::build("vgg19", &small).unwrap_err();
    assert!(matches!(error, ModelError::WindowTooLarge { ref node, .. } if node == "avgpool"));
}
