//! Flags and file to the engine's settings: which model, where it runs, which servers are behind it.

use anyhow::{Context as _, bail, ensure};
use homereel_engine::{
    DeviceKind, EngineConfig, EngineKind, ModelSource, PromptWrapper, Quantization, WeightType,
};
use url::Url;

use super::{Device, Dtype, EngineFlags, EngineName, Quantize, Wrapper};

/// Upstreams at most.
const MAX_UPSTREAMS: usize = 64;

/// Lets flags go before the file and checks what they say together.
pub(super) fn merge(
    flags: EngineFlags,
    file: EngineFlags,
    max_requests: usize,
) -> anyhow::Result<EngineConfig> {
    let model = flags.model.or(file.model).map(|model| model.parse::<ModelSource>()).transpose()?;
    let mut config = EngineConfig::new(model.clone().unwrap_or(ModelSource::Demo));
    let named = if flags.vllm_url.is_empty() { file.vllm_url } else { flags.vllm_url };
    let urls = named.iter().map(|url| upstream_url(url)).collect::<anyhow::Result<Vec<Url>>>()?;
    let limit = flags.vllm_max_requests.or(file.vllm_max_requests);
    config.kind = match flags.engine.or(file.engine).unwrap_or(EngineName::Candle) {
        EngineName::Candle if urls.is_empty() && limit.is_none() => EngineKind::Candle,
        EngineName::Candle => bail!("--vllm-url and --vllm-max-requests need --engine vllm"),
        EngineName::Vllm => EngineKind::Vllm {
            max_requests: checked_limit(limit, max_requests)?,
            urls: checked_urls(urls)?,
            files: model,
        },
    };
    let here = [
        ("--device", flags.device.or(file.device).is_some()),
        ("--dtype", flags.dtype.or(file.dtype).is_some()),
        ("--quantize", flags.quantize.or(file.quantize).is_some()),
    ];
    for (flag, given) in here {
        let fits = config.kind == EngineKind::Candle || !given;
        ensure!(fits, "{flag} is for a model in this program; with --engine vllm it is a setting of vLLM's");
    }
    config.device = match flags.device.or(file.device).unwrap_or(Device::Cpu) {
        Device::Cpu => DeviceKind::Cpu,
        Device::Cuda => DeviceKind::Cuda,
    };
    config.dtype = flags.dtype.or(file.dtype).map(|dtype| match dtype {
        Dtype::F32 => WeightType::F32,
        Dtype::Bf16 => WeightType::Bf16,
        Dtype::F16 => WeightType::F16,
    });
    config.quantization = flags.quantize.or(file.quantize).map(|kind| match kind {
        Quantize::Q8_0 => Quantization::Q8_0,
        Quantize::Q4K => Quantization::Q4K,
    });
    config.wrapper = match flags.prompt_wrapper.or(file.prompt_wrapper) {
        None | Some(Wrapper::V5) => PromptWrapper::V5,
        Some(Wrapper::V4_57) => PromptWrapper::V4_57,
    };
    config.max_model_len = flags.max_model_len.or(file.max_model_len);
    Ok(config)
}

/// Jobs take no place among `max_requests`: one more than those fits by default.
fn checked_limit(limit: Option<usize>, max_requests: usize) -> anyhow::Result<usize> {
    let limit = limit.unwrap_or(max_requests + 1);
    ensure!((1..=4096).contains(&limit), "vllm_max_requests is {limit}; 1 to 4096 would fit");
    Ok(limit)
}

fn checked_urls(urls: Vec<Url>) -> anyhow::Result<Vec<Url>> {
    ensure!(!urls.is_empty(), "--engine vllm needs --vllm-url, such as http://127.0.0.1:8000");
    ensure!(
        urls.len() <= MAX_UPSTREAMS,
        "--vllm-url is given {} times; {MAX_UPSTREAMS} would fit (beyond a handful, one URL in front of them: vLLM's own \
         data-parallel server, or Ray Serve)",
        urls.len()
    );
    for (at, url) in urls.iter().enumerate() {
        ensure!(!urls[..at].contains(url), "--vllm-url {url} is given twice; once would fit");
    }
    Ok(urls)
}

fn upstream_url(text: &str) -> anyhow::Result<Url> {
    let fits = "http://HOST:PORT would fit";
    let url: Url = text.parse().with_context(|| format!("--vllm-url {text} is no URL; {fits}"))?;
    ensure!(matches!(url.scheme(), "http" | "https") && url.has_host(), "--vllm-url {text}: {fits}");
    // It is shown on pages and in logs.
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "--vllm-url holds a user or a password; {fits}"
    );
    ensure!(url.query().is_none() && url.fragment().is_none(), "--vllm-url {text} has a query; {fits}");
    Ok(url)
}
