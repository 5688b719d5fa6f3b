//! A checkpoint is one unit: whatever entry is taken out of it, with all digests put right, is missed by name.

use std::fs;

use bidst_topology::algorithms;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::*;

/// `meta.json` with these entries, and with the right digest.
fn seal(meta: &Value) -> Vec<u8> {
    let text = meta.to_string();
    format!("{{\"crc32c\":\"{:08x}\",\"meta\":{text}}}\n", crc32c::crc32c(text.as_bytes())).into_bytes()
}

/// Changes the entries of a `meta.json`, and its digest.
pub fn rewrite_meta(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut meta: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut meta["meta"]);
    fs::write(path, seal(&meta["meta"])).unwrap();
}

/// The two files without one of the tensors, with the right digests.
fn without_tensor(meta: &Value, state: &SafeTensors<'_>, missing: &str) -> [Vec<u8>; 2] {
    let others = state.iter().filter(|(name, _)| *name != missing);
    let views: Vec<(String, TensorView<'_>)> = others.map(|(name, view)| (name.to_owned(), view)).collect();
    let mark = [("bidst".to_owned(), "checkpoint".to_owned())];
    let bytes = safetensors::serialize(views, Some(mark.into_iter().collect())).unwrap();
    let mut meta = meta.clone();
    meta["tensors"].as_object_mut().unwrap().remove(missing).unwrap();
    meta["files"]["state.safetensors"]["bytes"] = bytes.len().into();
    meta["files"]["state.safetensors"]["crc32c"] = crc32c::crc32c(&bytes).into();
    [seal(&meta), bytes]
}

/// What loading says of these files.
fn refusal(disk: &FaultyDisk, path: &Path, [meta, state]: [&[u8]; 2], config: &Config) -> String {
    disk.replace(&path.join("meta.json"), meta);
    disk.replace(&path.join("state.safetensors"), state);
    let loaded = newest(disk, config).and_then(|found| found.load(config.clone(), common::splits()));
    loaded.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn every_tensor_that_is_taken_out_is_missed_by_name_for_every_algorithm() {
    for entry in algorithms::list() {
        let config = often(entry.name);
        let mut trainer = trainer(&config);
        train_to(&mut trainer, 8);
        let disk = FaultyDisk::new();
        let path = save(&disk, &trainer).unwrap();
        let files = files(&disk, &path);
        let meta: Value = serde_json::from_slice(&files["meta.json"]).unwrap();
        let state = SafeTensors::deserialize(&files["state.safetensors"]).unwrap();
        let all = [&seal(&meta["meta"])[..], &files["state.safetensors"]];
        assert_eq!(refusal(&disk, &path, all, &config), "", "{}", entry.name);
        for name in state.names() {
            let [meta, bytes] = without_tensor(&meta["meta"], &state, name);
            let message = refusal(&disk, &path, [&meta, &bytes], &config);
            let short = name.splitn(3, '/').last().unwrap();
            assert!(
                message.contains(name) || message.contains(&format!("`{short}`")),
                "{}, {name}: `{message}`",
                entry.name
            );
        }
    }
}

/// Paths of all entries, but for those of maps whose keys are free.
fn entries(value: &Value, prefix: &[String]) -> Vec<Vec<String>> {
    let Value::Object(fields) = value else { return Vec::new() };
    let is_free = prefix.last().is_some_and(|name| ["settings", "tensors", "files"].contains(&name.as_str()));
    let below = |(name, inner): (&String, &Value)| {
        let path = [prefix, std::slice::from_ref(name)].concat();
        let deeper = entries(inner, &path);
        [vec![path], deeper].concat()
    };
    if is_free { Vec::new() } else { fields.iter().flat_map(below).collect() }
}

#[test]
fn every_entry_that_is_taken_out_of_the_meta_data_is_missed_by_name() {
    let config = common::config("set", &[]);
    let (disk, path) = saved(&config, 8);
    let files = files(&disk, &path);
    let meta: Value = serde_json::from_slice(&files["meta.json"]).unwrap();
    let paths = entries(&meta["meta"], &[]);
    assert!(paths.len() > 50, "{paths:?}");
    for entry in paths {
        let (name, parents) = entry.split_last().unwrap();
        let mut meta = meta["meta"].clone();
        let parent = parents.iter().fold(&mut meta, |value, name| &mut value[name.as_str()]);
        parent.as_object_mut().unwrap().remove(name).unwrap();
        let message = refusal(&disk, &path, [&seal(&meta), &files["state.safetensors"]], &config);
        assert!(message.contains(&format!("missing field `{name}`")), "{entry:?}: `{message}`");
    }
    let setting = meta["meta"]["settings"].as_object().unwrap().keys().next().unwrap().clone();
    let mut meta = meta["meta"].clone();
    meta["settings"].as_object_mut().unwrap().remove(&setting);
    let message = refusal(&disk, &path, [&seal(&meta), &files["state.safetensors"]], &config);
    assert!(message.contains(&format!("`{setting}` (not set)")), "{message}");
}
