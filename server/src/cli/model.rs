//! `homereel model pull|list|info`: downloads a model from the hub, lists the local ones, or describes one.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use anyhow::{Context as _, bail};
use homereel_engine::{
    ModelSource,
    hub::{self, CachedModel},
};
use serde_json::{Value, json};

use super::{ModelCommand, UsageError, progress::ProgressLine, terminal::print_lines};

/// Maximum size of a config file.
const MAX_CONFIG: u64 = 4 << 20;

/// Runs one subcommand.
pub(super) async fn run(command: ModelCommand) -> anyhow::Result<()> {
    let lines = match command {
        ModelCommand::Pull { id } => vec![pull(&id).await?],
        ModelCommand::List { json } => list(json)?,
        ModelCommand::Info { model } => {
            info(&model.parse().map_err(|error| UsageError(anyhow::Error::new(error)))?)?
        }
    };
    print_lines(lines)
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
    Ok(path.display().to_string())
}

fn list(json: bool) -> anyhow::Result<Vec<String>> {
    let models = hub::list();
    if json {
        let demo = json!({ "id": "demo", "complete": true });
        let cached = models.iter().map(|model| {
            json!({
                "id": model.id, "commit": model.commit, "path": model.path, "bytes": model.bytes,
                "complete": model.complete,
            })
        });
        return Ok(vec![serde_json::to_string(&std::iter::once(demo).chain(cached).collect::<Vec<_>>())?]);
    }
    let line = |model: &CachedModel| {
        let state = if model.complete { "complete" } else { "incomplete: resume with `homereel model pull`" };
        format!("{}  {} MiB, {}, {state}", model.id, model.bytes >> 20, short(&model.commit))
    };
    let demo = "demo  built in; recognizes coloured shapes only".to_owned();
    Ok(std::iter::once(demo).chain(models.iter().map(line)).collect())
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

fn info(model: &ModelSource) -> anyhow::Result<Vec<String>> {
    match model {
        ModelSource::Demo => Ok([
            "demo: built in; a small Qwen3-VL that was trained on drawn clips.",
            "It only knows coloured shapes: what they are, how they move, and when.",
            "For real videos choose a real model, such as --model Qwen/Qwen3-VL-4B-Instruct.",
        ]
        .map(str::to_owned)
        .to_vec()),
        ModelSource::Dir(path) => described(format!("{}:", path.display()), path),
        ModelSource::Hub { id, revision } => match hub::cached(id, revision.as_deref()) {
            Some(found) if found.complete => {
                let CachedModel { commit, path, bytes, .. } = found;
                described(
                    format!("{id}: {} MiB at commit {commit} in {}", bytes >> 20, path.display()),
                    &path,
                )
            }
            Some(_) => {
                bail!("{id} is not complete on this machine; resume with `homereel model pull {id}`")
            }
            None => bail!("{id} is not on this machine; download it with `homereel model pull {id}`"),
        },
    }
}

/// Reads the numbers that distinguish models of one family. Returns `title` and one line for each.
fn described(title: String, directory: &Path) -> anyhow::Result<Vec<String>> {
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
    let lines = known.map(|(name, value)| format!("  {name}: {value}"));
    Ok(std::iter::once(title).chain(lines).collect())
}
