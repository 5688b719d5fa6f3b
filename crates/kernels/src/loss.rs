//! Softmax cross-entropy of one tile, with label smoothing.

use crate::layout::Lane;

/// What a tile's images add to the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum of the images' losses, in nats.
    pub sum: f64,
    /// Images whose largest logit is the label's (the first of equals counts).
    pub correct: usize,
}

/// Loss of one tile and, if `gradient` is not empty, d(mean loss)/d(logits).
///
/// `logits` holds one lane per class, `labels` the classes of the live images, `smoothing` the share of the target
/// spread evenly over all classes, `images` the number of images that the mean is over. Spare lanes get gradient 0.
pub fn softmax_cross_entropy(
    logits: &[Lane],
    labels: &[u32],
    smoothing: f32,
    images: usize,
    gradient: &mut [Lane],
) -> Loss {
    let classes = logits.len();
    gradient.fill(Lane::ZERO);
    let (spread, scale) = (f64::from(smoothing) / classes as f64, 1.0 / images as f64);
    let mut loss = Loss::default();
    for (image, &label) in labels.iter().enumerate() {
        let logit = |class: usize| f64::from(logits[class].0[image]);
        let mut best = 0;
        for class in 1..classes {
            if logit(class) > logit(best) {
                best = class;
            }
        }
        let total: f64 = (0..classes).map(|class| (logit(class) - logit(best)).exp()).sum();
        let log_total = total.ln() + logit(best);
        let target = |class: usize| spread + if class == label as usize { 1.0 - f64::from(smoothing) } else { 0.0 };
        loss.sum += (0..classes).map(|class| target(class) * (log_total - logit(class))).sum::<f64>();
        loss.correct += usize::from(best == label as usize);
        for (class, lane) in gradient.iter_mut().enumerate() {
            lane.0[image] = (((logit(class) - log_total).exp() - target(class)) * scale) as f32;
        }
    }
    loss
}
