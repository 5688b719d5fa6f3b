//! The zoo against the literature's counts.

use bidst_model::zoo::{self, Options};
use bidst_model::{Graph, ModelError, Op, Shape, WeightSpec};

fn options(width: f64, classes: usize) -> Options {
    Options { width, classes, input: Shape::new(3, 32, 32) }
}

fn build(name: &str, width: f64, classes: usize) -> Graph {
    zoo::build(name, &options(width, classes)).unwrap()
}

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
    for (name, depth) in [("resnet20", 20), ("resnet32", 32), ("resnet56", 56)] {
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
    let graph = build("resnet20", 1.0, 10);
    let projections: Vec<String> =
        graph.weights().into_iter().filter(|w| w.name.contains("downsample")).map(|w| w.name).collect();
    assert_eq!(projections, ["layer2.0.downsample.conv.weight", "layer3.0.downsample.conv.weight"]);
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
    let error = zoo::build("resnet20", &options(1e12, 10)).unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { .. }));
}

#[test]
fn images_too_small_for_vgg_are_refused_at_the_pool() {
    let small = Options { width: 1.0, classes: 10, input: Shape::new(1, 28, 28) };
    let error = zoo::build("vgg19", &small).unwrap_err();
    assert!(matches!(error, ModelError::WindowTooLarge { ref node, .. } if node == "avgpool"));
}
