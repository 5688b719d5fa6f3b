//! The reference's gradients against central differences, in f64.
//!
//! The objective is the inner product of an operation's output with a fixed random `dy`, so that its gradient is what the
//! backward function returns. Each input value `v` moves by `1e-6 * max(1, |v|)` both ways. The error is relative to the
//! largest of the analytic value, the numeric value and the root mean square of the gradient tensor: a value that nearly
//! cancels is measured against its neighbours, not against rounding.

#[path = "common/splitmix.rs"]
mod splitmix;

use bidst_kernels::reference::*;
use splitmix::SplitMix64;

const STEP: f64 = 1e-6;
const TOLERANCE: f64 = 1e-6;

/// Random inputs.
struct Numbers(SplitMix64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0.uniform()
    }

    /// `len` numbers between -2 and 2.
    fn vector(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| 4.0 * self.next() - 2.0).collect()
    }

    /// `len` numbers between -2 and 2, all at least 1e-3 from every kink.
    fn vector_away_from(&mut self, len: usize, kinks: &[f64]) -> Vec<f64> {
        let safe = |v: &f64| kinks.iter().all(|kink| (v - kink).abs() > 1e-3);
        std::iter::repeat_with(|| 4.0 * self.next() - 2.0).filter(safe).take(len).collect()
    }

    /// `len` different numbers, at least 1e-2 apart, in random order.
    fn distinct(&mut self, len: usize) -> Vec<f64> {
        let mut keyed: Vec<(f64, f64)> =
            (0..len).map(|i| (self.next(), (i as f64 - len as f64 / 2.0) * 1e-2)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        keyed.into_iter().map(|(_, v)| v).collect()
    }
}

/// Checks `analytic`, the gradient of `sum(dy * forward(x))` of `x`.
fn check(what: &str, x: &[f64], dy: &[f64], analytic: &[f64], forward: impl Fn(&[f64]) -> Vec<f64>) {
    assert_eq!(x.len(), analytic.len(), "{what}: length");
    let squares: f64 = analytic.iter().map(|g| g * g).sum();
    let typical = (squares / analytic.len() as f64).sqrt();
    let mut moved = x.to_vec();
    for (at, &expected) in analytic.iter().enumerate() {
        let step = STEP * x[at].abs().max(1.0);
        let (high, low) = (x[at] + step, x[at] - step);
        moved[at] = high;
        let above = forward(&moved);
        moved[at] = low;
        let below = forward(&moved);
        moved[at] = x[at];
        let rise: f64 = (0..dy.len()).map(|i| dy[i] * (above[i] - below[i])).sum();
        let numeric = rise / (high - low);
        let scale = expected.abs().max(numeric.abs()).max(typical);
        let error = (expected - numeric).abs();
        assert!(error <= TOLERANCE * scale, "{what}[{at}]: {expected} by the reference, {numeric} by differences");
    }
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Window {
    Window { kernel, stride, padding }
}

fn windows() -> Vec<Window> {
    vec![
        window([1, 1], [1, 1], [0, 0]),
        window([1, 1], [2, 2], [0, 0]),
        window([3, 3], [1, 1], [1, 1]),
        window([3, 3], [2, 2], [1, 1]),
        window([2, 2], [2, 2], [0, 0]),
        window([3, 2], [1, 3], [2, 1]),
        window([5, 3], [3, 2], [2, 0]),
    ]
}

#[test]
fn convolution_matches_differences() {
    let mut numbers = Numbers(SplitMix64(1));
    for window in windows() {
        for (count, in_channels, out_channels, groups) in [(1, 1, 1, 1), (1, 3, 2, 1), (3, 2, 4, 2), (2, 3, 6, 3)] {
            for input in [[5, 4], [7, 7], [5, 3]] {
                let shape = ConvShape { count, in_channels, input, out_channels, window, groups };
                let x = numbers.vector(shape.input_len());
                let w = numbers.vector(shape.weight_len());
                let bias = numbers.vector(out_channels);
                let dy = numbers.vector(shape.output_len());
                let gradients = conv2d_backward(&shape, &x, &w, &dy);
                let y = |x: &[f64], w: &[f64], b: &[f64]| conv2d_forward(&shape, x, w, Some(b));
                check("input", &x, &dy, &gradients.input, |x| y(x, &w, &bias));
                check("weight", &w, &dy, &gradients.weight, |w| y(&x, w, &bias));
                check("bias", &bias, &dy, &gradients.bias, |b| y(&x, &w, b));
            }
        }
    }
}

#[test]
fn batch_normalization_matches_differences() {
    let mut numbers = Numbers(SplitMix64(2));
    let epsilon = 1e-5;
    for (count, channels, pixels) in [(1, 1, 6), (4, 3, 1), (2, 2, 9), (3, 5, 4)] {
        let shape = BatchNormShape { count, channels, pixels };
        let x = numbers.vector(count * channels * pixels);
        let gamma = numbers.vector(channels);
        let beta = numbers.vector(channels);
        let dy = numbers.vector(x.len());
        let y = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            let statistics = batch_norm_statistics(&shape, x);
            batch_norm_forward(&shape, x, &statistics, gamma, beta, epsilon)
        };
        let statistics = batch_norm_statistics(&shape, &x);
        let gradients = batch_norm_backward(&shape, &x, &statistics, &gamma, epsilon, &dy);
        check("input", &x, &dy, &gradients.input, |x| y(x, &gamma, &beta));
        check("gamma", &gamma, &dy, &gradients.gamma, |g| y(&x, g, &beta));
        check("beta", &beta, &dy, &gradients.beta, |b| y(&x, &gamma, b));
    }
}

#[test]
fn pointwise_operations_match_differences() {
    let mut numbers = Numbers(SplitMix64(3));
    for len in [1, 2, 37] {
        let x = numbers.vector_away_from(len, &[0.0, 1.5]);
        let dy = numbers.vector(len);
        check("relu", &x, &dy, &relu_backward(&x, &dy), relu_forward);
        let clipped = clip_backward(&x, 1.5, &dy);
        check("clip", &x, &dy, &clipped, |x| clip_forward(x, 1.5));
        let other = numbers.vector(len);
        let [left, right] = add_backward(&dy);
        check("left", &x, &dy, &left, |x| add_forward(x, &other));
        check("right", &x, &dy, &right, |x| add_forward(&other, x));
    }
}

#[test]
fn rectified_outputs_serve_as_inputs_of_the_backward_pass() {
    let mut numbers = Numbers(SplitMix64(4));
    let (x, dy) = (numbers.vector(50), numbers.vector(50));
    assert_eq!(relu_backward(&relu_forward(&x), &dy), relu_backward(&x, &dy));
    let y = clip_forward(&x, 1.5);
    assert_eq!(clip_backward(&y, 1.5, &dy), clip_backward(&x, 1.5, &dy));
}

fn pools() -> impl Iterator<Item = PoolShape> {
    let sizes = [[5, 4], [7, 7], [6, 8]];
    let fits = |window: &Window| window.padding[0] < window.kernel[0] && window.padding[1] < window.kernel[1];
    windows().into_iter().filter(fits).flat_map(move |window| {
        sizes.into_iter().zip([1, 2, 6]).map(move |(input, planes)| PoolShape { planes, input, window })
    })
}

#[test]
fn pools_match_differences() {
    let mut numbers = Numbers(SplitMix64(5));
    for shape in pools() {
        let x = numbers.distinct(shape.input_len());
        let dy = numbers.vector(shape.output_len());
        let (_, winners) = max_pool_forward(&shape, &x);
        let max = max_pool_backward(&shape, &winners, &dy);
        check("max", &x, &dy, &max, |x| max_pool_forward(&shape, x).0);
        let average = average_pool_backward(&shape, &dy);
        check("average", &x, &dy, &average, |x| average_pool_forward(&shape, x));
    }
    for (planes, pixels) in [(1, 1), (3, 49), (4, 6)] {
        let x = numbers.vector(planes * pixels);
        let dy = numbers.vector(planes);
        let gradient = global_average_pool_backward(pixels, &dy);
        check("global", &x, &dy, &gradient, |x| global_average_pool_forward(pixels, x));
    }
}

#[test]
fn gemm_matches_differences() {
    let mut numbers = Numbers(SplitMix64(6));
    for (count, in_features, out_features) in [(1, 1, 1), (1, 7, 3), (4, 5, 6)] {
        let shape = GemmShape { count, in_features, out_features };
        let x = numbers.vector(count * in_features);
        let w = numbers.vector(out_features * in_features);
        let bias = numbers.vector(out_features);
        let dy = numbers.vector(count * out_features);
        let gradients = gemm_backward(&shape, &x, &w, &dy);
        let y = |x: &[f64], w: &[f64], b: &[f64]| gemm_forward(&shape, x, w, Some(b));
        check("input", &x, &dy, &gradients.input, |x| y(x, &w, &bias));
        check("weight", &w, &dy, &gradients.weight, |w| y(&x, w, &bias));
        check("bias", &bias, &dy, &gradients.bias, |b| y(&x, &w, b));
    }
}

#[test]
fn cross_entropy_matches_differences() {
    let mut numbers = Numbers(SplitMix64(7));
    for (count, classes) in [(1, 2), (1, 10), (5, 7)] {
        for smoothing in [0.0, 0.1] {
            let logits = numbers.vector(count * classes);
            let labels: Vec<u32> = (0..count).map(|n| (3 * n % classes) as u32).collect();
            let (_, probabilities) = softmax_cross_entropy_forward(classes, &logits, &labels, smoothing);
            let gradient = softmax_cross_entropy_backward(classes, &probabilities, &labels, smoothing);
            check("logits", &logits, &[1.0], &gradient, |z| {
                vec![softmax_cross_entropy_forward(classes, z, &labels, smoothing).0]
            });
        }
    }
}

#[test]
fn a_convolution_by_hand() {
    let shape = ConvShape {
        count: 1,
        in_channels: 1,
        input: [2, 3],
        out_channels: 1,
        window: window([2, 2], [1, 2], [0, 1]),
        groups: 1,
    };
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let w = [1.0, 10.0, 100.0, 1000.0];
    // Columns -1 0 | 1 2 of rows 0 and 1.
    let expected = [10.0 + 4000.0 + 0.5, 2.0 + 30.0 + 500.0 + 6000.0 + 0.5];
    assert_eq!(conv2d_forward(&shape, &x, &w, Some(&[0.5])), expected);
}

#[test]
fn the_first_of_equal_values_wins_the_max_pool() {
    let shape = PoolShape { planes: 1, input: [2, 2], window: window([2, 2], [1, 1], [1, 1]) };
    let (y, winners) = max_pool_forward(&shape, &[-1.0; 4]);
    assert_eq!(y, [-1.0; 9]);
    assert_eq!(winners, [0, 0, 1, 0, 0, 1, 2, 2, 3]);
}

#[test]
fn padding_counts_in_the_average() {
    let shape = PoolShape { planes: 1, input: [2, 2], window: window([2, 2], [2, 2], [1, 1]) };
    let y = average_pool_forward(&shape, &[4.0, 8.0, 12.0, 16.0]);
    assert_eq!(y, [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn running_variance_is_unbiased() {
    let shape = BatchNormShape { count: 2, channels: 1, pixels: 2 };
    let statistics = batch_norm_statistics(&shape, &[1.0, 1.0, 5.0, 5.0]);
    assert_eq!((statistics.mean[0], statistics.variance[0]), (3.0, 4.0));
    let (mut mean, mut variance) = ([1.0], [2.0f64]);
    statistics.update_running(&shape, 0.5, &mut mean, &mut variance);
    assert_eq!(mean, [2.0]);
    assert!((variance[0] - (1.0 + 0.5 * 16.0 / 3.0)).abs() < 1e-12);
}

#[test]
fn a_uniform_guess_costs_the_logarithm_of_the_classes() {
    for smoothing in [0.0, 0.1] {
        let (loss, probabilities): (f64, _) = softmax_cross_entropy_forward(4, &[1000.0; 8], &[0, 3], smoothing);
        assert!((loss - 4f64.ln()).abs() < 1e-12);
        assert!(probabilities.iter().all(|p| (p - 0.25).abs() < 1e-12));
    }
}

#[test]
fn single_precision_agrees_with_double() {
    let mut numbers = Numbers(SplitMix64(8));
    let shape = ConvShape {
        count: 2,
        in_channels: 3,
        input: [5, 5],
        out_channels: 4,
        window: window([3, 3], [2, 2], [1, 1]),
        groups: 1,
    };
    let (x, w) = (numbers.vector(shape.input_len()), numbers.vector(shape.weight_len()));
    let single = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let double = conv2d_forward(&shape, &x, &w, None);
    let rounded = conv2d_forward(&shape, &single(&x), &single(&w), None);
    for (d, s) in double.iter().zip(rounded) {
        assert!((d - s.to_f64()).abs() < 1e-5);
    }
}
