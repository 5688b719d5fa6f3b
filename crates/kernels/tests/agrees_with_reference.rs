//! Every fast kernel against the scalar oracle in f64, on every instruction set of this machine.
//!
//! An element may differ by 2·k·ε·Σ|terms|, where k counts its terms and ε is the rounding of f32: [`common::Exact`].
//! `BIDST_LONG=1` compares fifty times as many cases; `--nocapture` shows the largest errors.

mod common;

use bidst_kernels::*;
use common::{
    Agreement, Backward, Batch, Convolution, Exact, Forward, Gradient, Numbers, Recipe, Tensor, agree, images_of, junk,
    poison, spare_lanes_are_zero,
};

#[test]
fn a_tile_holds_every_pixel_at_its_place_and_zeros_in_its_spare_lanes() {
    agree("tile", |numbers, _| {
        let batch = Batch { tiles: 1, images: numbers.between(1, LANES), ..Batch::draw(numbers) };
        let Batch { plane, storage, .. } = batch;
        let images = Tensor::draw(numbers, batch, 0.0).images;
        let mut tile = poison(batch.lanes());
        tile_from_images(&images, plane, storage, &mut tile);
        for (at, &value) in images.iter().enumerate() {
            let (column, rest) = (at % plane.width, at / plane.width);
            let (row, rest) = (rest % plane.height, rest / plane.height);
            let (channel, image) = (rest % plane.channels, rest / plane.channels);
            let element = storage.get(&tile, (row * plane.channels + channel) * plane.width + column);
            assert_eq!(element.0[image], value, "{batch:?}");
        }
        assert!(spare_lanes_are_zero(&tile, batch), "{batch:?}");
        assert_eq!(images_of(&tile, batch), images, "{batch:?}");
    });
}

#[test]
fn every_mix_agrees_with_the_reference() {
    agree("mix", |numbers, agreement| {
        let batch = Batch::draw(numbers);
        let Batch { plane, tiles, storage, .. } = batch;
        let (recipe, masks) = Recipe::draw_gradient(numbers, batch);
        let exact = recipe.exact();
        for set in InstructionSet::available() {
            let mut out = poison(batch.lanes());
            mix(set, plane, tiles, recipe.mix(&masks), &mut out);
            agreement.check_stored(set, "value", &batch, &images_of(&out, batch), &exact, (storage, 1));
            assert!(spare_lanes_are_zero(&out, batch), "{batch:?}");
        }
    });
}

#[test]
fn moments_agree_with_the_reference_and_leave_spare_lanes_out() {
    agree("moments", |numbers, agreement| {
        let batch = Batch::draw(numbers);
        let (data, masks) = (Tensor::draw(numbers, batch, junk()), batch.masks(numbers));
        let exact = Exact::new(&data.images).moments(batch);
        for set in InstructionSet::available() {
            let mut sums = vec![f32::NAN; 2 * batch.plane.channels];
            moments(set, batch.plane, (&data.tiles, batch.storage), &masks, &mut sums);
            agreement.check(set, "moments", &batch, &sums, &exact);
        }
    });
}

#[test]
fn rectified_gradients_agree_with_the_reference() {
    agree("rectify", |numbers, agreement| {
        let batch = Batch::draw(numbers);
        let Batch { plane, tiles, .. } = batch;
        let value = Recipe::draw(numbers, batch);
        let gradient = Gradient::draw(numbers, batch, &value);
        let nothing = Exact::new(&vec![0.0; batch.images * plane.len()]);
        let Some(expected) = gradient.expected(nothing, &value) else { return agreement.skip() };
        for set in InstructionSet::available() {
            gradient.check(agreement, set, &expected, |gradient| {
                let work = Rectify { plane, tiles, value: value.mix(&[]), gradient };
                rectify(set, work, &mut poison(3 * plane.channels));
            });
        }
    });
}

#[test]
fn sparse_convolutions_agree_with_the_reference() {
    forward_agrees("forward", Convolution::draw, Forward::sparse);
}

#[test]
fn dense_convolutions_agree_with_the_reference() {
    forward_agrees("dense forward", Convolution::draw, Forward::dense);
}

#[test]
fn depthwise_convolutions_agree_with_the_reference() {
    forward_agrees("depthwise forward", Convolution::draw_depthwise, Forward::depthwise);
}

fn forward_agrees(kernel: &'static str, draw: fn(&mut Numbers) -> Convolution, plan: fn(&Convolution) -> Forward) {
    agree(kernel, |numbers, agreement| {
        let conv = draw(numbers);
        let input = Recipe::draw(numbers, conv.input());
        let input_masks = if numbers.one_in(2) { conv.input().masks(numbers) } else { Vec::new() };
        let bias = numbers.optional(conv.shape.output.channels, conv.grid);
        let masks = conv.output().masks(numbers);
        let (keeps, wants_moments) = (conv.shape.reads_everything() && numbers.one_in(2), numbers.one_in(2));
        let x = input.exact();
        let exact = conv.forward(&x, &bias);
        let exact_moments = exact.moments(conv.output());
        let plan = plan(&conv);
        for set in InstructionSet::available() {
            let mut output = poison(conv.output().lanes());
            let mut kept = poison(if keeps { conv.input().lanes() } else { 0 });
            let mut sums = vec![f32::NAN; if wants_moments { 2 * conv.shape.output.channels } else { 0 }];
            let unit = ForwardUnit {
                input: input.mix(&input_masks),
                keep: keeps.then_some(&mut kept[..]),
                bias: &bias,
                output: &mut output,
                moments: &mut sums,
                masks: &masks,
                scratch: &mut poison(plan.scratch_len()),
            };
            plan.run(set, unit);
            let (output, stored) = (images_of(&output, conv.output()), (conv.storage, 1));
            agreement.check_stored(set, "output", &conv, &output, &exact, stored);
            if keeps {
                agreement.check_stored(set, "kept input", &conv, &images_of(&kept, conv.input()), &x, stored);
            }
            if wants_moments {
                agreement.check(set, "moments", &conv, &sums, &exact_moments);
            }
        }
    });
}

#[test]
fn gradients_of_sparse_convolutions_agree_with_the_reference() {
    backward_agrees("backward", Convolution::draw, Backward::sparse);
}

#[test]
fn gradients_of_dense_convolutions_agree_with_the_reference() {
    backward_agrees("dense backward", Convolution::draw, Backward::dense);
}

#[test]
fn gradients_of_depthwise_convolutions_agree_with_the_reference() {
    backward_agrees("depthwise backward", Convolution::draw_depthwise, Backward::depthwise);
}

fn backward_agrees(kernel: &'static str, draw: fn(&mut Numbers) -> Convolution, plan: fn(&Convolution) -> Backward) {
    agree(kernel, |numbers, agreement| {
        let conv = draw(numbers);
        let input = Recipe::draw(numbers, conv.input());
        let (gradient, masks) = Recipe::draw_gradient(numbers, conv.output());
        let ends = (!numbers.one_in(5)).then(|| Gradient::draw(numbers, conv.input(), &input));
        let (dx, dw) = conv.backward(&input.exact(), &gradient.exact());
        let end = match ends.as_ref().map(|end| (end, end.expected(dx, &input))) {
            Some((_, None)) => return agreement.skip(),
            Some((end, Some(expected))) => Some((end, expected)),
            None => None,
        };
        let weights = &conv.weights;
        // What the gradients already hold when the sums of this unit arrive.
        let held = [&weights.active, &weights.candidates].map(|positions| numbers.values(positions.len(), conv.grid));
        let exact = [dw.at(&weights.active).plus(&held[0]), dw.at(&weights.candidates).plus(&held[1])];
        let plan = plan(&conv);
        for set in InstructionSet::available() {
            let mut sums = vec![f32::NAN; plan.sums(&conv)];
            let mut run = |input_gradient: Option<InputGradient<'_>>| {
                let (gradient, input) = (gradient.mix(&masks), input.mix(&[]));
                let scratch = &mut poison(plan.scratch_len());
                plan.run(set, BackwardUnit { gradient, input, input_gradient, weights: &mut sums, scratch });
            };
            match &end {
                Some((end, expected)) => end.check(agreement, set, expected, |gradient| run(Some(gradient))),
                None => run(None),
            }
            if !matches!(plan, Backward::Sparse(_)) {
                agreement.check(set, "weight gradient at all positions", &conv, &sums, &dw);
            }
            let [mut active, mut candidates] = held.clone();
            plan.scatter(&conv, &sums, &mut active, &mut candidates);
            agreement.check(set, "weight gradient", &conv, &active, &exact[0]);
            agreement.check(set, "gradient of the candidates", &conv, &candidates, &exact[1]);
        }
    });
}

/// A pool of one tile, and the oracle's name for it.
fn draw_pool(numbers: &mut Numbers) -> (Pool, reference::PoolShape, [Batch; 2]) {
    let batch = Batch::draw(numbers);
    let batch = Batch { tiles: 1, images: batch.images.min(LANES), ..batch };
    let input = [batch.plane.height, batch.plane.width];
    let mut window = reference::Window { kernel: input, stride: [1, 1], padding: [0, 0] };
    if !numbers.one_in(6) {
        for (axis, size) in input.into_iter().enumerate() {
            window.kernel[axis] = numbers.between(1, size.min(5));
            window.stride[axis] = numbers.between(1, 3);
            window.padding[axis] = numbers.between(0, 2).min(window.kernel[axis] - 1);
        }
    }
    let [height, width] = window.output(input);
    let reference::Window { kernel, stride, padding } = window;
    let output = Plane { channels: batch.plane.channels, height, width };
    let kind = numbers.pick(&[PoolKind::Max, PoolKind::Average]);
    let storage = numbers.pick(&[batch.storage, Storage::F32]);
    let storage = if kind == PoolKind::Max && batch.storage == Storage::F32 { Storage::F32 } else { storage };
    let storage = [batch.storage, storage];
    let pool = Pool { kind, input: batch.plane, output, kernel, stride, padding, storage };
    let shape = reference::PoolShape { planes: batch.images * output.channels, input, window };
    (pool, shape, [batch, Batch { plane: output, storage: storage[1], ..batch }])
}

/// The oracle's forward and backward pass.
fn exact_pool(pool: &Pool, shape: &reference::PoolShape, x: &Exact, dy: &Exact) -> [Exact; 2] {
    use reference::*;
    let [area, pixels] = [pool.kernel, shape.input].map(|[height, width]| height * width);
    match pool.kind {
        PoolKind::Max => {
            let (values, winners) = max_pool_forward(shape, &x.values);
            let y = Exact { magnitudes: values.iter().map(|value| value.abs()).collect(), values, terms: 0 };
            [y, dy.map(area, |dy| max_pool_backward(shape, &winners, dy))]
        }
        PoolKind::Average if pool.kernel == shape.input && pool.padding == [0, 0] => [
            x.map(area + 2, |x| global_average_pool_forward(pixels, x)),
            dy.map(3, |dy| global_average_pool_backward(pixels, dy)),
        ],
        PoolKind::Average => [
            x.map(area + 2, |x| average_pool_forward(shape, x)),
            dy.map(area + 2, |dy| average_pool_backward(shape, dy)),
        ],
    }
}

#[test]
fn pools_agree_with_the_reference() {
    agree("pool", |numbers, agreement| {
        let (pool, shape, [batch, output]) = draw_pool(numbers);
        let (x, dy) = (Tensor::draw(numbers, batch, junk()), Tensor::draw(numbers, output, 0.0));
        let held = numbers.one_in(2).then(|| Tensor::draw(numbers, batch, 0.0));
        let [y, mut dx] = exact_pool(&pool, &shape, &Exact::new(&x.images), &Exact::new(&dy.images));
        if let Some(held) = &held {
            dx = dx.plus(&held.images);
        }
        for set in InstructionSet::available() {
            let mut values = poison(output.lanes());
            pool.forward(set, &x.tiles, &mut values);
            agreement.check_stored(set, "output", &pool, &images_of(&values, output), &y, (output.storage, 1));
            let mut gradient = held.as_ref().map_or_else(|| poison(batch.lanes()), |held| held.tiles.clone());
            pool.backward(set, (&x.tiles, &values), &dy.tiles, held.is_some(), &mut gradient);
            // Windows that overlap store what they add one after the other.
            let stored = (batch.storage, pool.kernel[0] * pool.kernel[1]);
            agreement.check_stored(set, "gradient", &pool, &images_of(&gradient, batch), &dx, stored);
            assert!(spare_lanes_are_zero(&gradient, batch), "{pool:?}");
        }
    });
}

#[test]
fn softmax_cross_entropy_agrees_with_the_reference() {
    agree("loss", |numbers, agreement| {
        let plane = Plane { channels: numbers.between(1, 20), height: 1, width: 1 };
        let images = numbers.between(1, LANES);
        let batch = Batch { plane, images, tiles: 1, grid: numbers.one_in(4), storage: Storage::F32 };
        let mut logits = Tensor::draw(numbers, batch, junk());
        let steep = numbers.pick(&[1.0, 64.0]);
        logits.images.iter_mut().for_each(|logit| *logit *= steep);
        logits.tiles.iter_mut().flat_map(|lane| &mut lane.0).for_each(|logit| *logit *= steep);
        let labels: Vec<u32> = (0..batch.images).map(|_| numbers.between(0, plane.channels - 1) as u32).collect();
        let smoothing = numbers.pick(&[0.0, 0.1, 1.0]);
        let images = batch.images + numbers.between(0, 40);
        let mut gradient = poison(plane.channels);
        let loss = softmax_cross_entropy(&logits.tiles, &labels, smoothing, images, &mut gradient);
        check_loss(agreement, batch, (&logits, &labels, smoothing, images), loss, &gradient);
        let without = softmax_cross_entropy(&logits.tiles, &labels, smoothing, images, &mut []);
        assert_eq!(without, loss, "{batch:?}");
    });
}

fn check_loss(
    agreement: &mut Agreement,
    batch: Batch,
    (logits, labels, smoothing, images): (&Tensor, &[u32], f32, usize),
    loss: Loss,
    gradient: &[Lane],
) {
    let classes = batch.plane.channels;
    let share = labels.len() as f64 / images as f64;
    let logits = Exact::new(&logits.images).values;
    let (mean, probabilities) =
        reference::softmax_cross_entropy_forward(classes, &logits, labels, f64::from(smoothing));
    let values = reference::softmax_cross_entropy_backward(classes, &probabilities, labels, f64::from(smoothing));
    let values: Vec<f64> = values.into_iter().map(|value| value * share).collect();
    // One rounding, and the 1e-13 that f64 may lose in logits of 100 where probability and target cancel.
    let exact = Exact { magnitudes: values.iter().map(|value| value.abs() + 1e-6).collect(), values, terms: 1 };
    // The loss has one version, in f64, for all instruction sets.
    agreement.check(InstructionSet::Scalar, "gradient", &batch, &images_of(gradient, batch), &exact);
    assert!(spare_lanes_are_zero(gradient, batch), "{batch:?}");
    let sum = mean * labels.len() as f64;
    assert!((loss.sum - sum).abs() <= 1e-12 * (1.0 + sum.abs()), "{batch:?}: {} instead of {sum}", loss.sum);
    let is_first_largest = |(logits, &label): (&[f64], &u32)| {
        let label = label as usize;
        logits[..label].iter().all(|&z| z < logits[label]) && logits[label..].iter().all(|&z| z <= logits[label])
    };
    let correct = logits.chunks_exact(classes).zip(labels).filter(|&pair| is_first_largest(pair)).count();
    assert_eq!(loss.correct, correct, "{batch:?}");
}
