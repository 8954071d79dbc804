//! The mixture of experts that replaces the MLP in most layers of an MoE checkpoint. Only the selected experts are
//! computed.

use candle_core::{DType, Tensor};

use super::{
    Result,
    attention::softmax,
    config::{Activation, MoeConfig},
    layers::{Linear, MatrixFormat, TensorScope},
};
use crate::EngineError;

/// Router and experts of one layer.
#[derive(Debug, Clone)]
pub(super) struct Moe {
    router: Linear,
    gate_up: Experts,
    down: Experts,
    top_k: usize,
    activation: Activation,
}

/// One matrix per expert, in the file's layout.
#[derive(Debug, Clone)]
struct Experts {
    weights: Tensor,
    /// Whether a matrix is [inputs, outputs] (the published layout) or [outputs, inputs].
    inputs_first: bool,
}

impl Experts {
    fn forward(&self, expert: usize, x: &Tensor) -> Result<Tensor> {
        let weight = self.weights.get(expert)?;
        x.matmul(&if self.inputs_first { weight } else { weight.t()? })
    }
}

impl Moe {
    pub(super) fn load(
        source: &TensorScope<'_>,
        hidden: usize,
        config: &MoeConfig,
        activation: Activation,
    ) -> Result<Self, EngineError> {
        let (count, inner) = (config.num_experts, config.moe_intermediate_size);
        let experts = source.at("experts");
        let (gate_up, down) = if experts.weights.contains(&experts.name("gate_up_proj")) {
            // At most one of the two matrices is square, and the other one determines the layout of both.
            let shape = experts.weights.shape(&experts.name("gate_up_proj"));
            let other = experts.weights.shape(&experts.name("down_proj"));
            let inputs_first =
                !(shape == Some(&[count, 2 * inner, hidden]) && other == Some(&[count, hidden, inner]));
            let load = |name: &str, inputs, outputs| {
                let shape = if inputs_first { [count, inputs, outputs] } else { [count, outputs, inputs] };
                Ok::<_, EngineError>(Experts { weights: experts.tensor(name, &shape)?, inputs_first })
            };
            (load("gate_up_proj", hidden, 2 * inner)?, load("down_proj", inner, hidden)?)
        } else {
            load_one_by_one(&experts, hidden, count, inner)?
        };
        Ok(Self {
            router: source.with_matrices(MatrixFormat::Plain).linear("gate", hidden, count, false)?,
            gate_up,
            down,
            top_k: config.num_experts_per_tok,
            activation,
        })
    }

    /// `x` is [tokens, hidden]. Experts are selected on the host, with one small transfer per layer.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let probabilities = softmax(&self.router.forward(x)?.to_dtype(DType::F32)?)?;
        let assigned = assign(&probabilities.to_vec2::<f32>()?, self.top_k);
        let mut sum = x.zeros_like()?;
        for (expert, (tokens, weights)) in assigned.into_iter().enumerate() {
            if tokens.is_empty() {
                continue;
            }
            let rows = tokens.len();
            let tokens = Tensor::from_vec(tokens, rows, x.device())?;
            let weights = Tensor::from_vec(weights, (rows, 1), x.device())?.to_dtype(x.dtype())?;
            let inner =
                self.activation.gated(&self.gate_up.forward(expert, &x.index_select(&tokens, 0)?)?)?;
            let output = self.down.forward(expert, &inner)?.broadcast_mul(&weights)?;
            sum = sum.index_add(&tokens, &output, 0)?;
        }
        Ok(sum)
    }
}

/// Loads the layout with one tensor per expert and projection, which some converters write.
fn load_one_by_one(
    experts: &TensorScope<'_>,
    hidden: usize,
    count: usize,
    inner: usize,
) -> Result<(Experts, Experts), EngineError> {
    let mut gate_up = Vec::with_capacity(count);
    let mut down = Vec::with_capacity(count);
    for expert in 0..count {
        let expert = experts.at(expert);
        let gate = expert.at("gate_proj").tensor("weight", &[inner, hidden])?;
        let up = expert.at("up_proj").tensor("weight", &[inner, hidden])?;
        gate_up.push(Tensor::cat(&[gate, up], 0)?);
        down.push(expert.at("down_proj").tensor("weight", &[hidden, inner])?);
    }
    let stack = |tensors: Vec<Tensor>| {
        Ok::<_, EngineError>(Experts { weights: Tensor::stack(&tensors, 0)?, inputs_first: false })
    };
    Ok((stack(gate_up)?, stack(down)?))
}

/// Returns for each expert its tokens and their weights, which sum to 1 per token.
fn assign(probabilities: &[Vec<f32>], top_k: usize) -> Vec<(Vec<u32>, Vec<f32>)> {
    let experts = probabilities.first().map_or(0, Vec::len);
    let mut assigned = vec![(Vec::new(), Vec::new()); experts];
    let mut order = Vec::with_capacity(experts);
    for (token, row) in probabilities.iter().enumerate() {
        order.clear();
        order.extend(0..experts);
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let chosen = &order[..top_k.min(experts)];
        let sum = chosen.iter().map(|&expert| row[expert]).sum::<f32>();
        for &expert in chosen {
            assigned[expert].0.push(token as u32);
            assigned[expert].1.push(row[expert] / sum);
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::Device;

    use super::{super::weights::Weights, *};

    const HIDDEN: usize = 4;
    const CONFIG: MoeConfig = MoeConfig {
        num_experts: 3,
        num_experts_per_tok: 2,
        // Twice this is the hidden size, so one of the two matrices alone doesn't tell the layout.
        moe_intermediate_size: 2,
        decoder_sparse_step: 1,
        mlp_only_layers: Vec::new(),
    };

    #[test]
    fn the_likeliest_experts_share_a_token_by_weight() {
        let assigned = assign(&[vec![0.1, 0.6, 0.3], vec![0.5, 0.25, 0.25]], 2);
        assert_eq!(assigned[0], (vec![1], vec![0.5 / 0.75]));
        assert_eq!(assigned[1].0, [0, 1]);
        assert_eq!(assigned[2], (vec![0], vec![0.3 / (0.6 + 0.3)]));
    }

    /// Deterministic numbers between -1 and 1.
    fn numbers(shape: &[usize], seed: f32) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| (i as f32 * 1.7 + seed).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn run(tensors: HashMap<String, Tensor>) -> Vec<Vec<f32>> {
        let bytes = safetensors::serialize(&tensors, None).unwrap();
        let weights = Weights::from_static("test", bytes.leak()).unwrap();
        let source = TensorScope::new(&weights, &Device::Cpu, DType::F32, "mlp");
        let moe = Moe::load(&source, HIDDEN, &CONFIG, Activation::Silu).unwrap();
        moe.forward(&numbers(&[5, HIDDEN], 0.5)).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn every_layout_on_disk_gives_the_same_output() {
        let inner = CONFIG.moe_intermediate_size;
        let gate_up = numbers(&[3, 2 * inner, HIDDEN], 1.0);
        let down = numbers(&[3, HIDDEN, inner], 2.0);
        let router = ("mlp.gate.weight".to_owned(), numbers(&[3, HIDDEN], 3.0));
        let named = |gate_up: Tensor, down: Tensor| {
            HashMap::from([
                router.clone(),
                ("mlp.experts.gate_up_proj".to_owned(), gate_up),
                ("mlp.experts.down_proj".to_owned(), down),
            ])
        };
        let turned = |tensor: &Tensor| tensor.transpose(1, 2).unwrap().contiguous().unwrap();
        let mut apart = HashMap::from([router.clone()]);
        for expert in 0..3 {
            let name = |part: &str| format!("mlp.experts.{expert}.{part}.weight");
            let both = gate_up.get(expert).unwrap();
            let half = |start| both.narrow(0, start, inner).unwrap().contiguous().unwrap();
            apart.insert(name("gate_proj"), half(0));
            apart.insert(name("up_proj"), half(inner));
            apart.insert(name("down_proj"), down.get(expert).unwrap());
        }

        // Layouts differ in strides, so the products may differ in rounding.
        let published = run(named(turned(&gate_up), turned(&down))).concat();
        for other in [run(named(gate_up.clone(), down.clone())), run(apart)] {
            for (got, want) in other.concat().iter().zip(&published) {
                assert!((got - want).abs() < 1e-5, "{got}, not {want}");
            }
        }
    }
}
