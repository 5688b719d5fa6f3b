//! Shape inference and every mistake that the builder reports.

use bidst_model::{ConvOptions, Graph, GraphBuilder, ModelError, NodeId, Op, Shape};

const IMAGE: Shape = Shape::new(4, 9, 7);

/// Builds a network of one node on [`IMAGE`] and flattens its output.
fn single(op: Op) -> Result<Graph, ModelError> {
    let mut net = GraphBuilder::new("net", IMAGE);
    let x = net.node("op", op, &[NodeId(0)]);
    net.flatten("flatten", x);
    net.finish()
}

fn shape_of(op: Op) -> Shape {
    single(op).unwrap().node(NodeId(1)).shape
}

fn conv(out_channels: usize, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], groups: usize) -> Op {
    Op::Conv { out_channels, kernel, stride, padding, groups, bias: false }
}

#[test]
fn windows_are_counted_with_stride_and_padding() {
    let out = |kernel, stride, padding| shape_of(conv(6, kernel, stride, padding, 1));
    assert_eq!(out([3, 3], [1, 1], [1, 1]), Shape::new(6, 9, 7));
    assert_eq!(out([3, 3], [2, 2], [1, 1]), Shape::new(6, 5, 4));
    assert_eq!(out([1, 1], [2, 2], [0, 0]), Shape::new(6, 5, 4));
    assert_eq!(out([3, 3], [1, 1], [0, 0]), Shape::new(6, 7, 5));
    assert_eq!(out([5, 2], [3, 1], [2, 0]), Shape::new(6, 3, 6));
    assert_eq!(out([9, 7], [1, 1], [0, 0]), Shape::new(6, 1, 1));
}

#[test]
fn pools_keep_the_channels() {
    let pool = Op::MaxPool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    assert_eq!(shape_of(pool), Shape::new(4, 5, 4));
    let pool = Op::AveragePool { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    assert_eq!(shape_of(pool), Shape::new(4, 4, 3));
    assert_eq!(shape_of(Op::GlobalAveragePool), Shape::flat(4));
}

#[test]
fn pointwise_operations_keep_the_shape() {
    let normalization = Op::BatchNormalization { epsilon: 1e-5, momentum: 0.1 };
    for op in [Op::Relu, Op::Clip { max: 6.0 }, normalization] {
        assert_eq!(shape_of(op), IMAGE);
    }
    assert_eq!(shape_of(Op::Flatten), Shape::flat(4 * 9 * 7));
}

#[test]
fn weights_come_in_node_order_with_names_and_fans() {
    let mut net = GraphBuilder::new("net", IMAGE);
    let x = net.conv("conv1", net.input(), ConvOptions::new(6, 3).groups(2).with_bias());
    let x = net.batch_normalization("bn1", x);
    let x = net.clip("relu1", x, 6.0);
    let x = net.global_average_pool("pool", x);
    net.gemm("fc", x, 10, true);
    let graph = net.finish().unwrap();
    let [conv, fc] = graph.weights().try_into().unwrap();
    assert_eq!((conv.name.as_str(), fc.name.as_str()), ("conv1.weight", "fc.weight"));
    assert_eq!((conv.shape.as_slice(), fc.shape.as_slice()), (&[6, 2, 3, 3][..], &[10, 6][..]));
    assert_eq!((conv.fan_in(), conv.fan_out()), (18, 54));
    assert_eq!((fc.fan_in(), fc.fan_out()), (6, 10));
    assert_eq!((conv.macs_per_weight, fc.macs_per_weight), (63, 1));
    assert_eq!(graph.macs(), 108 * 63 + 60);
    assert_eq!(graph.parameter_count(), 108 + 6 + 12 + 60 + 10);
}

#[test]
fn consumers_count_a_node_read_twice_twice() {
    let mut net = GraphBuilder::new("net", IMAGE);
    let x = net.relu("relu", net.input());
    let doubled = net.add("double", x, x);
    let sum = net.add("sum", doubled, x);
    net.flatten("flatten", sum);
    let graph = net.finish().unwrap();
    assert_eq!(graph.consumers(x), [doubled, doubled, sum]);
    assert_eq!(graph.consumers(graph.output()), []);
}

#[test]
fn the_first_mistake_is_reported() {
    let mut net = GraphBuilder::new("net", IMAGE);
    let x = net.conv("first", net.input(), ConvOptions::new(0, 3));
    net.gemm("second", x, 0, true);
    let zero = ModelError::Zero { node: "first".into(), field: "out_channels" };
    assert_eq!(net.finish().unwrap_err(), zero);
}

#[test]
fn sizes_of_zero_are_refused() {
    let pool = |kernel, stride| Op::MaxPool { kernel, stride, padding: [0, 0] };
    let gemm = Op::Gemm { out_features: 0, bias: false };
    let cases = [
        (conv(0, [1, 1], [1, 1], [0, 0], 1), "out_channels"),
        (conv(1, [1, 0], [1, 1], [0, 0], 1), "kernel"),
        (conv(1, [1, 1], [0, 1], [0, 0], 1), "stride"),
        (conv(1, [1, 1], [1, 1], [0, 0], 0), "groups"),
        (pool([0, 1], [1, 1]), "kernel"),
        (pool([1, 1], [1, 0]), "stride"),
        (gemm, "out_features"),
    ];
    for (op, expected) in cases {
        let error = single(op).unwrap_err();
        assert!(matches!(error, ModelError::Zero { field, .. } if field == expected), "{error}");
    }
}

#[test]
fn groups_must_divide_both_sides() {
    for (out_channels, groups) in [(6, 4), (4, 3), (6, 5)] {
        let error = single(conv(out_channels, [1, 1], [1, 1], [0, 0], groups)).unwrap_err();
        assert!(matches!(error, ModelError::Groups { inputs: 4, .. }), "{error}");
    }
}

#[test]
fn windows_must_fit_the_padded_input() {
    let error = single(conv(1, [3, 8], [1, 1], [0, 0], 1)).unwrap_err();
    assert!(matches!(error, ModelError::WindowTooLarge { input: IMAGE, .. }), "{error}");
    assert!(single(conv(1, [3, 8], [1, 1], [0, 1], 1)).is_ok());
}

/// The kernels make room for a stride, and divided by 0 where that overflowed.
#[test]
fn strides_far_beyond_the_padded_input_are_refused() {
    for stride in [[12, 1], [1, 10], [1 << 32, 1 << 32], [usize::MAX, 1]] {
        let error = single(conv(1, [3, 3], stride, [1, 1], 1)).unwrap_err();
        assert!(matches!(error, ModelError::StrideTooLarge { input: IMAGE, .. }), "{error}");
        let pool = Op::MaxPool { kernel: [3, 3], stride, padding: [1, 1] };
        assert!(matches!(single(pool).unwrap_err(), ModelError::StrideTooLarge { .. }));
    }
    assert_eq!(shape_of(conv(6, [3, 3], [11, 9], [1, 1], 1)), Shape::new(6, 1, 1));
}

/// As the shortcuts of a ResNet do on small images.
#[test]
fn a_plane_of_one_pixel_may_be_halved() {
    let mut net = GraphBuilder::new("net", Shape::new(4, 1, 1));
    net.conv("shortcut", net.input(), ConvOptions::new(6, 1).stride(2));
    assert_eq!(net.finish().unwrap().node(NodeId(1)).shape, Shape::flat(6));
}

#[test]
fn a_pool_window_may_not_lie_in_the_padding() {
    for padding in [[2, 0], [0, 2], [usize::MAX, 0]] {
        let op = Op::AveragePool { kernel: [2, 2], stride: [1, 1], padding };
        assert!(matches!(single(op).unwrap_err(), ModelError::PoolPadding { .. }));
    }
}

#[test]
fn batch_normalization_needs_sane_constants() {
    for (epsilon, momentum) in
        [(0.0, 0.1), (f32::NAN, 0.1), (f32::INFINITY, 0.1), (1e-5, -0.1), (1e-5, 1.1), (1e-5, f32::NAN)]
    {
        let error = single(Op::BatchNormalization { epsilon, momentum }).unwrap_err();
        assert!(matches!(error, ModelError::BatchNormalization { .. }), "{error}");
    }
}

#[test]
fn clip_needs_a_positive_bound() {
    for max in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(single(Op::Clip { max }).unwrap_err(), ModelError::Clip { .. }));
    }
}

#[test]
fn add_needs_two_inputs_of_one_shape() {
    let mut net = GraphBuilder::new("net", IMAGE);
    let x = net.conv("conv", net.input(), ConvOptions::new(4, 3).stride(2));
    net.add("sum", x, NodeId(0));
    let error = net.finish().unwrap_err();
    assert!(matches!(error, ModelError::AddShapes { right: IMAGE, .. }), "{error}");
    let error = single(Op::Add).unwrap_err();
    let count = ModelError::InputCount { node: "op".into(), op: "Add", expected: 2, found: 1 };
    assert_eq!(error, count);
}

#[test]
fn gemm_needs_a_flat_input() {
    let op = Op::Gemm { out_features: 3, bias: true };
    assert!(matches!(single(op).unwrap_err(), ModelError::NotFlat { input: IMAGE, .. }));
}

#[test]
fn names_must_be_given_and_unique() {
    let mut net = GraphBuilder::new("net", IMAGE);
    net.relu("", net.input());
    assert_eq!(net.finish().unwrap_err(), ModelError::EmptyName { index: 1 });
    for taken in ["input", "relu"] {
        let mut net = GraphBuilder::new("net", IMAGE);
        let x = net.relu("relu", net.input());
        net.relu(taken, x);
        assert_eq!(net.finish().unwrap_err(), ModelError::DuplicateName { node: taken.into() });
    }
}

#[test]
fn inputs_must_exist() {
    let mut net = GraphBuilder::new("net", IMAGE);
    net.relu("relu", NodeId(1));
    let unknown = ModelError::UnknownInput { node: "relu".into(), input: 1, known: 1 };
    assert_eq!(net.finish().unwrap_err(), unknown);
}

#[test]
fn a_network_has_one_input_and_some_layers() {
    let mut net = GraphBuilder::new("net", IMAGE);
    net.node("again", Op::Input, &[]);
    assert!(matches!(net.finish().unwrap_err(), ModelError::SecondInput { .. }));
    let empty = GraphBuilder::new("net", IMAGE).finish().unwrap_err();
    assert!(matches!(empty, ModelError::NoLayers { .. }));
    let nothing = GraphBuilder::new("net", Shape::new(1, 0, 3)).finish().unwrap_err();
    assert!(matches!(nothing, ModelError::EmptyInput { .. }));
}

#[test]
fn every_node_is_used_and_the_last_gives_logits() {
    let mut net = GraphBuilder::new("net", IMAGE);
    net.relu("dangling", net.input());
    net.flatten("flatten", NodeId(0));
    let unused = ModelError::Unused { node: "dangling".into() };
    assert_eq!(net.finish().unwrap_err(), unused);
    let mut net = GraphBuilder::new("net", IMAGE);
    net.relu("relu", net.input());
    let error = net.finish().unwrap_err();
    assert!(matches!(error, ModelError::OutputNotFlat { shape: IMAGE, .. }), "{error}");
}

#[test]
fn tensors_whose_flat_indices_overflow_are_refused() {
    let huge = GraphBuilder::new("net", Shape::new(1 << 20, 1 << 20, 1 << 30)).finish();
    assert!(matches!(huge.unwrap_err(), ModelError::TooLarge { tensor: "output", .. }));
    let wide = single(conv(usize::MAX, [1, 1], [1, 1], [0, 0], 1));
    assert!(matches!(wide.unwrap_err(), ModelError::TooLarge { tensor: "output", .. }));
    let padded = single(conv(1, [1, 1], [1, 1], [usize::MAX / 2, 0], 1));
    assert!(matches!(padded.unwrap_err(), ModelError::TooLarge { tensor: "output", .. }));
    let filters = single(conv(1 << 26, [9, 7], [1, 1], [0, 0], 1));
    assert!(matches!(filters.unwrap_err(), ModelError::TooLarge { tensor: "weight", .. }));
}
