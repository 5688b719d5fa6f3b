//! Softmax cross-entropy with label smoothing, averaged over the images.

use super::Float;

/// Mean loss of `count` images and their class probabilities.
///
/// `logits` and the probabilities are `[labels.len(), classes]`, every label is below `classes`. With smoothing `s`,
/// the target of an image is `(1 - s) * one-hot + s / classes` (Szegedy et al., 2016), and the loss is the
/// cross-entropy to it.
pub fn softmax_cross_entropy_forward<T: Float>(
    classes: usize,
    logits: &[T],
    labels: &[u32],
    smoothing: T,
) -> (T, Vec<T>) {
    assert_eq!(logits.len(), labels.len() * classes, "length of the logits");
    let mut loss = T::ZERO;
    let mut probabilities = Vec::with_capacity(logits.len());
    for (logits, &label) in logits.chunks_exact(classes).zip(labels) {
        let max = logits[1..].iter().fold(logits[0], |max, &z| if z > max { z } else { max });
        let sum: T = logits.iter().map(|&z| (z - max).exp()).sum();
        for (class, &z) in logits.iter().enumerate() {
            let log_probability = z - max - sum.ln();
            loss += -target(classes, class, label, smoothing) * log_probability;
            probabilities.push(log_probability.exp());
        }
    }
    (loss / T::from_usize(labels.len()), probabilities)
}

/// Gradient of the mean loss of the logits: `(probability - target) / count`, `[labels.len(), classes]`.
pub fn softmax_cross_entropy_backward<T: Float>(
    classes: usize,
    probabilities: &[T],
    labels: &[u32],
    smoothing: T,
) -> Vec<T> {
    assert_eq!(probabilities.len(), labels.len() * classes, "length of the probabilities");
    let count = T::from_usize(labels.len());
    probabilities
        .iter()
        .enumerate()
        .map(|(at, &p)| (p - target(classes, at % classes, labels[at / classes], smoothing)) / count)
        .collect()
}

fn target<T: Float>(classes: usize, class: usize, label: u32, smoothing: T) -> T {
    let even = smoothing / T::from_usize(classes);
    if class == label as usize { T::ONE - smoothing + even } else { even }
}
