//! `homereel model pull|list|info`: downloads a model from the hub, lists the local ones, or describes one.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use homereel_engine::{ModelSource, hub};
use serde_json::{Value, json};

use super::{ModelCommand, UsageError, progress::ProgressLine};

/// Maximum size of a config file.
const MAX_CONFIG: u64 = 4 << 20;

/// Runs one subcommand.
pub(super) async fn run(command: ModelCommand) -> anyhow::Result<()> {
    let text = match command {
        ModelCommand::Pull { id } => pull(&id).await?,
        ModelCommand::List { json } => list(json)?,
        ModelCommand::Info { model } => {
            info(&model.parse().map_err(|error| UsageError(anyhow::Error::new(error)))?)?
        }
    };
    io::stdout().write_all(text.as_bytes()).context("failed to write")
}

async fn pull(id: &str) -> anyhow::Result<String> {
    let source: ModelSource = id.parse().map_err(|error| UsageError(anyhow::Error::new(error)))?;
    let ModelSource::Hub { id, revision } = source else {
        return Err(UsageError(anyhow::anyhow!("{id} is on this machine already; a hub id would fit")).into());
    };
    let progress = Arc::new(ProgressLine::start());
    let line = Arc::clone(&progress);
    let path = hub::pull(&id, revision.as_deref(), move |at| {
        let mib = |bytes: u64| bytes >> 20;
        line.show(&format!("{} ({} of {}), MiB", at.file, at.index, at.files), mib(at.done), mib(at.total));
    })
    .await?;
    progress.clear();
    Ok(format!("{}\n", path.display()))
}

fn list(json: bool) -> anyhow::Result<String> {
    let models = hub::list();
    if json {
        let demo = json!({ "id": "demo", "complete": true });
        let cached = models.iter().map(|model| {
            json!({
                "id": model.id, "commit": model.commit, "path": model.path, "bytes": model.bytes,
                "complete": model.complete,
            })
        });
        return Ok(serde_json::to_string(&std::iter::once(demo).chain(cached).collect::<Vec<_>>())? + "\n");
    }
    let mut text = String::from("demo  built in; recognizes coloured shapes only\n");
    for model in models {
        let state = if model.complete { "complete" } else { "incomplete: resume with `homereel model pull`" };
        text += &format!("{}  {} MiB, {}, {state}\n", model.id, model.bytes >> 20, short(&model.commit));
    }
    Ok(text)
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn info(model: &ModelSource) -> anyhow::Result<String> {
    match model {
        ModelSource::Demo => Ok("demo: built in; a small Qwen3-VL that was trained on drawn clips.\n\
             It only knows coloured shapes: what they are, how they move, and when.\n\
             For real videos choose a real model, such as --model Qwen/Qwen3-VL-4B-Instruct.\n"
            .into()),
        ModelSource::Dir(path) => Ok(format!("{}:\n{}", path.display(), described(path)?)),
        ModelSource::Hub { id, revision } => match hub::cached(id, revision.as_deref()) {
            Some(found) if found.complete => Ok(format!(
                "{id}: {} MiB at commit {} in {}\n{}",
                found.bytes >> 20,
                found.commit,
                found.path.display(),
                described(&found.path)?
            )),
            Some(_) => {
                bail!("{id} is not complete on this machine; resume with `homereel model pull {id}`")
            }
            None => bail!("{id} is not on this machine; download it with `homereel model pull {id}`"),
        },
    }
}

/// Reads the numbers that distinguish models of one family.
fn described(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join("config.json");
    let mut text = String::new();
    let file = File::open(&path).with_context(|| format!("failed to open {}", path.display()))?;
    file.take(MAX_CONFIG).read_to_string(&mut text)?;
    let config: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let facts = [
        ("kind", &config["model_type"]),
        ("context", &config["text_config"]["max_position_embeddings"]),
        ("layers", &config["text_config"]["num_hidden_layers"]),
        ("hidden size", &config["text_config"]["hidden_size"]),
        ("vision blocks", &config["vision_config"]["depth"]),
        ("experts", &config["text_config"]["num_experts"]),
    ];
    let known = facts.into_iter().filter(|(_, value)| !value.is_null());
    Ok(known.map(|(name, value)| format!("  {name}: {value}\n")).collect())
}
