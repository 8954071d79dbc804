//! Copies of the demo model with changes.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

/// Copies the demo model's directory and applies `change` to the copy.
///
/// # Errors
/// When files cannot be copied, or those of `change`.
pub fn changed_demo(change: impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<tempfile::TempDir> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/demo-model");
    let dir = tempfile::tempdir()?;
    for entry in std::fs::read_dir(demo)? {
        let entry = entry?;
        std::fs::copy(entry.path(), dir.path().join(entry.file_name()))?;
    }
    change(dir.path())?;
    Ok(dir)
}

/// Returns a copy of the demo model whose budget for a video is `pixels` over all frames.
///
/// # Errors
/// See [`changed_demo`].
pub fn demo_with_video_budget(pixels: u64) -> anyhow::Result<tempfile::TempDir> {
    changed_demo(|dir| {
        for (file, rule) in
            [("processor_config.json", Some("video_processor")), ("video_preprocessor_config.json", None)]
        {
            let path = dir.join(file);
            let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
            let rule = match rule {
                Some(rule) => &mut config[rule],
                None => &mut config,
            };
            let size = rule.get_mut("size").with_context(|| format!("{file} has a size"))?;
            size["longest_edge"] = json!(pixels);
            std::fs::write(&path, config.to_string())?;
        }
        Ok(())
    })
}
