//! Published formulas against numbers worked out by hand. The worked update of an algorithm is beside it in its own file;
//! here is that of BiDST, for which several of its files have to agree.

use bidst_topology::distribution::{Distribution, allocate};
use bidst_topology::schedule::{DropFraction, DropSchedule, Ramp, cosine};
use bidst_topology::{Context, LayerSpec, LayerView, Probe, algorithms};

fn counts(kind: Distribution, shapes: &[&[usize]], sparsity: f64) -> Vec<usize> {
    let shapes: Vec<Vec<usize>> = shapes.iter().map(|shape| shape.to_vec()).collect();
    allocate(kind, &shapes, sparsity).unwrap()
}

#[test]
fn erdos_renyi_shares_non_zeros_out_in_proportion_to_the_sum_of_dimensions() {
    let erk = |shapes: &[&[usize]], sparsity| counts(Distribution::Erk, shapes, sparsity);
    assert_eq!(erk(&[&[10, 20], &[20, 10]], 0.9), [20, 20]);
    // 20 : 40 of 80.
    assert_eq!(erk(&[&[10, 10], &[10, 30]], 0.8), [27, 53]);
    // 30 : 26 of 131.2, that is 70.29 and 60.91.
    assert_eq!(erk(&[&[16, 8, 3, 3], &[10, 16]], 0.9), [70, 61]);
    // The first would have a density of 2.4. It is dense, and 985.6 are left for the second.
    assert_eq!(erk(&[&[4, 4], &[100, 100]], 0.9), [16, 986]);
    // Both small layers overflow at once; 242.8 are left.
    assert_eq!(erk(&[&[2, 2], &[2, 2], &[50, 50]], 0.9), [4, 4, 243]);
    assert_eq!(erk(&[&[7, 3], &[5, 2]], 0.0), [21, 10]);
}

#[test]
fn a_uniform_sparsity_is_rounded_in_every_layer_and_leaves_none_empty() {
    let nnz = |len: usize, sparsity| counts(Distribution::Uniform, &[&[1, len]], sparsity)[0];
    assert_eq!([nnz(100, 0.9), nnz(288, 0.95), nnz(1000, 0.98), nnz(3, 0.98), nnz(27, 0.0)], [10, 14, 20, 1, 27]);
}

#[test]
fn the_cosine_is_one_at_first_a_half_in_the_middle_and_zero_at_the_end() {
    let half = std::f64::consts::FRAC_1_SQRT_2 / 2.0;
    for (step, value) in [(0, 1.0), (250, 0.5 + half), (500, 0.5), (750, 0.5 - half), (1000, 0.0), (1200, 0.0)] {
        assert!((cosine(step, 1000) - value).abs() < 1e-12, "step {step}");
    }
    assert!((cosine(200, 600) - 0.75).abs() < 1e-12 && (cosine(400, 600) - 0.25).abs() < 1e-12);
}

#[test]
fn drop_counts_are_rounded_down() {
    let count =
        |schedule, initial, step, nnz| DropFraction { initial, last: 0.0, schedule, end: 1000 }.count(step, nnz);
    // 3; 0.2561·1000; 0.15·7 = 1.05; 0.0439·100; next to nothing at the end.
    let cosine = [(0, 10), (250, 1000), (500, 7), (750, 100), (999, 1000)];
    assert_eq!(cosine.map(|(step, nnz)| count(DropSchedule::Cosine, 0.3, step, nnz)), [3, 256, 1, 4, 0]);
    let constant = [(0, 9), (500, 10), (999, 11), (2000, 100), (3, 3)];
    assert_eq!(constant.map(|(step, nnz)| count(DropSchedule::Constant, 0.25, step, nnz)), [2, 2, 2, 25, 0]);
    let step = [(0, 20), (749, 24), (750, 24), (750, 7), (999, 16)];
    assert_eq!(step.map(|(step, nnz)| count(DropSchedule::Step, 0.5, step, nnz)), [10, 12, 6, 1, 4]);
}

#[test]
fn the_cubic_leaves_512_216_64_8_and_0_thousandths_of_the_way() {
    let ramp = Ramp::new(0, 51, 10).unwrap();
    let nnz = |first, last| [10, 20, 30, 40, 50].map(|step| ramp.nnz(step, first, last));
    assert_eq!(nnz(1000, 0), [512, 216, 64, 8, 0]);
    // 100 + 900 times as much: 560.8, 294.4, 157.6, 107.2, 100.
    assert_eq!(nnz(1000, 100), [561, 294, 158, 107, 100]);
}

#[test]
fn bidst_swaps_what_curvature_and_gradients_of_two_steps_say() {
    let layers = [LayerSpec::new("fc.weight", vec![1, 6], 3)];
    let context = Context {
        layers: &layers,
        total_steps: 100,
        steps_per_epoch: 100,
        seed: 1,
        weight_decay: 0.5,
        learning_rate: 0.1,
        momentum: 0.9,
        batch_size: 2,
    };
    let options = "candidates = 'all'\nupdate_interval = 2\nwindow = 2\nflag = 'interval'\ndrop_fraction = 1.0\n\
                   drop_schedule = 'constant'";
    let mut bidst = algorithms::build("bidst", &options.parse().unwrap(), &context).unwrap();
    let view = LayerView {
        active: &[0, 2, 4],
        weights: &[1.0, 0.4, -0.2],
        gradients: &[0.0; 3],
        momentum: &[0.0; 3],
        probe: Probe::None,
    };
    bidst.observe(0, &[view]);
    let steps =
        [([1.0, -1.0, 2.0], [1.0, 3.0, -1.0, 1.0, 2.0, 2.0]), ([-1.0, 1.0, 0.0], [-1.0, 1.0, 1.0, 1.0, 0.0, 2.0])];
    for (step, (gradients, dense)) in [1, 2].into_iter().zip(&steps) {
        bidst.observe(step, &[LayerView { gradients, probe: Probe::Dense { gradients: dense, share: 1.0 }, ..view }]);
    }
    // Mean squares at the active positions 2 and 2/3, mean gradients 0, 0 and 1: variance 2·(4/3 − 1/3) = 2, h = 2·2 = 4.
    // To keep, (h/2 + λ)·θ² = 2.5·θ²: 2.5, 0.4, 0.1. The candidates 1, 3 and 5 have ḡ = 2, 1, 2; less the noise
    // h/(2·2) = 1, ½ḡ²/(h + λ) is 1/3, 0, 1/3. So 1 replaces 4; 5 is worth less than 2, and 3 nothing.
    assert!(bidst.decides_at(2));
    let change = bidst.update(2, &[view]).remove(0);
    assert_eq!((&change.dropped[..], &change.grown[..]), (&[4][..], &[1][..]));
}
