//! Axes: from values to places, with ticks at round numbers.

/// How the numbers of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A share as percent.
    Percent,
    /// A number, large ones with k, M, G, T.
    Number,
    /// Bytes.
    Bytes,
}

/// Values from `low` to `high`, laid out evenly or by their logarithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Between the ticks of a scale that was widened to them.
    step: Option<f64>,
    from: f64,
    to: f64,
}

impl Scale {
    /// An even scale over `values`, widened to round numbers, without a given place yet.
    pub fn linear(values: impl IntoIterator<Item = f64>, ticks: usize) -> Scale {
        let (low, high) = bounds(values);
        let step = nice_step((high - low) / ticks.max(1) as f64);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Scale {
            low,
            high: if high > low { high } else { low + step },
            log: false,
            step: Some(step),
            from: 0.0,
            to: 1.0,
        }
    }

    /// An even scale exactly from `low` to `high`.
    pub fn exact(low: f64, high: f64) -> Scale {
        Scale { low, high: if high > low { high } else { low + 1.0 }, log: false, step: None, from: 0.0, to: 1.0 }
    }

    /// A logarithmic scale over those of `values` that are above 0, widened by a twentieth on both sides.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Scale {
        let (low, high) = bounds(values.into_iter().filter(|&value| value > 0.0));
        let (low, high) = (low.max(1e-30), high.max(1e-30));
        let margin = (high / low).powf(0.05).max(1.05);
        Scale { low: low / margin, high: high * margin, log: true, step: None, from: 0.0, to: 1.0 }
    }

    /// The scale with `low` at the coordinate `from` and `high` at `to`.
    pub fn between(self, from: f64, to: f64) -> Scale {
        Scale { from, to, ..self }
    }

    /// Coordinate of a value; values beyond the ends lie at the ends.
    pub fn at(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log { self.log_ticks(count) } else { self.even_ticks(count) }
    }

    /// As [`Scale::ticks`], but only whole numbers: epochs and steps.
    pub fn whole_ticks(&self, count: usize) -> Vec<f64> {
        let step = nice_step((self.high - self.low) / count.max(1) as f64).max(1.0).ceil();
        multiples(step, self.low, self.high)
    }

    fn even_ticks(&self, count: usize) -> Vec<f64> {
        let step = self.step.unwrap_or_else(|| nice_step((self.high - self.low) / count.max(1) as f64));
        multiples(step, self.low, self.high)
    }

    /// Powers of ten, or 1, 2 and 5 of each where there are few, or every so many where there are too many.
    fn log_ticks(&self, count: usize) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let inside = |value: &f64| *value >= self.low && *value <= self.high;
        let of = |factors: &[f64]| -> Vec<f64> {
            let powers = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
            powers.filter(inside).collect()
        };
        let candidates = [of(&[1.0, 2.0, 3.0, 5.0, 7.0]), of(&[1.0, 2.0, 5.0]), of(&[1.0, 3.0]), of(&[1.0])];
        let powers = candidates[3].clone();
        let few = candidates.into_iter().find(|ticks| ticks.len() <= count.max(2));
        few.unwrap_or_else(|| powers.iter().copied().step_by(powers.len().div_ceil(count.max(1))).collect())
    }
}

/// Least and largest value; a little around a single one, 0 to 1 if there is none.
fn bounds(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let values = values.into_iter().filter(|value| value.is_finite());
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match () {
        () if low > high => (0.0, 1.0),
        () if high - low <= 1e-9 * high.abs() => (low - 0.05 * low.abs().max(1e-9), high + 0.05 * high.abs().max(1e-9)),
        () => (low, high),
    }
}

/// The round number (1, 2, 2.5 or 5 times a power of ten) at or above `step`.
fn nice_step(step: f64) -> f64 {
    if !(step.is_finite() && step > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    power * factors.into_iter().find(|factor| step <= factor * power * (1.0 + 1e-9)).unwrap_or(10.0)
}

fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 50.0) as usize;
    (0..=count).map(|at| (first + at as f64) * step).collect()
}

impl Format {
    /// Labels of `ticks`, all with as many digits as the closest two need.
    pub fn labels(self, ticks: &[f64]) -> Vec<String> {
        let gap = ticks.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(f64::INFINITY, f64::min);
        let digits = |gap: f64| {
            let needed = (0..6).find(|&digits| {
                let scaled = gap * 10f64.powi(digits);
                (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0) && scaled > 0.5
            });
            needed.unwrap_or(0) as usize
        };
        let label = |&tick: &f64| match self {
            Format::Percent => format!("{:.*}%", digits(100.0 * gap), signless(100.0 * tick)),
            Format::Bytes => bytes(tick),
            Format::Number if gap >= 1.0 || ticks.len() < 2 => number(tick),
            Format::Number => format!("{:.*}", digits(gap), signless(tick)),
        };
        ticks.iter().map(label).collect()
    }
}

/// Without the sign of a negative zero.
fn signless(value: f64) -> f64 {
    if value.abs() < 1e-9 { 0.0 } else { value }
}

/// Three digits and a prefix: `950`, `1.5k`, `24.1M`.
pub fn number(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(unit, _)| value.abs() >= 0.9995 * unit) {
        Some((unit, name)) => format!("{}{name}", three_digits(value / unit)),
        None => three_digits(value),
    }
}

/// `512 B`, `17.3 kB`, `2 MB`
pub fn bytes(value: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| value.abs() >= 0.9995 * unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(value / unit)),
        None => format!("{value:.0} B"),
    }
}

/// `91.3%`, and more digits near 0 and 1.
pub fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let digits = if share == 0.0 || share == 1.0 {
        0
    } else if value.abs() < 1.0 || (share < 1.0 && value > 99.0) {
        2
    } else {
        1
    };
    format!("{value:.digits$}%")
}

/// A sparsity as people say it: `90%`, `99.5%`.
pub fn level(sparsity: f64) -> String {
    format!("{}%", (1e4 * sparsity).round() / 1e2)
}

/// `2.10 ms`, `41.2 s`, `3 min 05 s`, `2 h 07 min`
pub fn seconds(value: f64) -> String {
    let whole = value.max(0.0).round() as u64;
    match value {
        _ if value < 0.0995 => format!("{:.*} ms", if value < 0.00995 { 2 } else { 1 }, 1e3 * value),
        _ if value < 0.9995 => format!("{:.0} ms", 1e3 * value),
        _ if value < 99.95 => format!("{value:.1} s"),
        _ if whole < 5_940 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
    }
}

/// Three significant digits, without zeros at the end.
fn three_digits(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 || size == 0.0 => 2,
        size => (2 - size.log10().floor() as i32).clamp(0, 9) as usize,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_ticks_are_round_and_cover_the_values() {
        let scale = Scale::linear([0.113, 0.8226], 4);
        let ticks = scale.ticks(4);
        assert_eq!(Format::Percent.labels(&ticks), ["0%", "20%", "40%", "60%", "80%", "100%"]);
        let scale = Scale::linear([0.913, 0.9312], 4);
        assert_eq!(Format::Percent.labels(&scale.ticks(4)), ["91.0%", "91.5%", "92.0%", "92.5%", "93.0%", "93.5%"]);
        assert_eq!(Scale::exact(0.0, 3.0).whole_ticks(6), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(Scale::exact(0.0, 160.0).whole_ticks(5), [0.0, 50.0, 100.0, 150.0]);
    }

    #[test]
    fn logarithmic_ticks_are_few_whatever_the_range() {
        for (low, high) in [(1.0, 1.5), (0.02, 0.2), (3.0, 4e6), (1e-12, 1e12), (5.0, 5.0)] {
            let ticks = Scale::log([low, high]).ticks(5);
            assert!(ticks.len() <= 5 && ticks.windows(2).all(|pair| pair[0] < pair[1]), "{low} to {high}: {ticks:?}");
        }
        assert_eq!(Scale::log([0.02, 0.2]).ticks(5), [0.02, 0.05, 0.1, 0.2]);
    }

    #[test]
    fn scales_survive_empty_equal_and_extreme_values() {
        for values in [vec![], vec![0.0], vec![7.0, 7.0], vec![-1e30, 1e30], vec![f64::NAN, f64::INFINITY]] {
            let scale = Scale::linear(values.clone(), 4).between(10.0, 90.0);
            let places: Vec<f64> = values.iter().map(|&value| scale.at(value)).collect();
            assert!(
                places.iter().all(|place| place.is_nan() || (10.0..=90.0).contains(place)),
                "{values:?}: {places:?}"
            );
            assert!(scale.ticks(4).len() <= 51);
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.052, 950.0, 1_500.0, 24_120_000.0].map(number), ["0", "0.052", "950", "1.5k", "24.1M"]);
        assert_eq!([999.0, 145_456.0, 1e9].map(bytes), ["999 B", "145 kB", "1 GB"]);
        assert_eq!([0.0, 0.0512, 0.9, 0.998].map(percent), ["0%", "5.1%", "90.0%", "99.80%"]);
        assert_eq!([0.0021, 41.23, 185.4, 7_650.0].map(seconds), ["2.10 ms", "41.2 s", "3 min 05 s", "2 h 07 min"]);
    }
}
