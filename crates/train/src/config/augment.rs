//! The words of `[data] augment`.

use bidst_data::Augment;

/// The augmentation that `words` ask for; words that are none change nothing.
pub(super) fn read<'a>(words: impl IntoIterator<Item = &'a str>) -> Augment {
    let mut augment = Augment::NONE;
    for word in words {
        match (word, padding(word)) {
            ("flip", _) => augment.flip = true,
            ("resized-crop", _) => augment.resized_crop = true,
            (_, Some(padding)) => augment.crop_padding = padding,
            _ => {}
        }
    }
    augment
}

/// The words that [`read`] reads back.
pub(super) fn words(augment: Augment) -> Vec<String> {
    let crop = (augment.crop_padding > 0).then(|| format!("crop:{}", augment.crop_padding));
    let resized = augment.resized_crop.then(|| "resized-crop".to_owned());
    crop.into_iter().chain(resized).chain(augment.flip.then(|| "flip".to_owned())).collect()
}

/// What is wrong with `words`, if anything.
pub(super) fn problem(words: &[&str]) -> Option<String> {
    let wrong = words.iter().find(|word| !["flip", "resized-crop"].contains(word) && padding(word).is_none());
    if let Some(word) = wrong {
        let word = word.escape_debug();
        return Some(format!("may hold `flip`, `resized-crop` and `crop:N` with N from 1 to 64, but not `{word}`"));
    }
    let kind = |word: &str| word.split(':').next().unwrap_or(word).to_owned();
    let twice = words.iter().enumerate().find(|(at, word)| words[..*at].iter().any(|other| kind(other) == kind(word)));
    twice.map(|(_, word)| format!("holds `{}` twice", kind(word)))
}

/// N of `crop:N`.
fn padding(word: &str) -> Option<usize> {
    let padding = word.strip_prefix("crop:")?.parse().ok()?;
    (1..=64).contains(&padding).then_some(padding)
}
