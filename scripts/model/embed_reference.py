#!/usr/bin/env python3
"""Writes the golden files of the sentence models: two small random checkpoints, and the vectors of sentence-transformers.

    pip install "sentence-transformers==6.2.0" "transformers==5.19.0" torch safetensors tokenizers
    scripts/model/embed_reference.py [--out server/engine/tests/parity/embed]

  NAME/                 bert: the layout of sentence-transformers 2, mean pooling, normalized;
                        xlm-r: as sentence-transformers 6 saves it, first token, not normalized, with prompts
  NAME.json             {"texts": [...]}
  NAME.safetensors      `query` and `passage`: f32 [texts, dimension]

The weights are larger than those of trained models, so that a wrong epsilon, position or mask shows. Seeds are fixed. Everything
is computed in f32 on the CPU.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

CORPUS = [
    "Two children throw snowballs in the garden and a brown dog runs after them.",
    "The girl blows out the candles of her birthday cake while everybody sings.",
    "Grandma tells how she met grandpa at the lake in the summer of 1961.",
    "Kinder spielen im Schnee; ein Hund läuft über die Wiese. Les enfants jouent dans la neige.",
    "a man rows a boat, people swim, fish is grilled, it rains, the sun sets behind the mountains!",
]
TEXTS = [
    "",
    " ",
    "dog",
    "A dog runs in the snow.",
    "a dog runs in the snow.",
    "Two children throw snowballs",
    "kids playing in the snow",
    "The candles of the birthday cake: blown out!",
    "  several   spaces\tand\na line break ",
    "Ein Hund läuft über die Wiese, während es schneit.",
    "ÉCOLE école e\u0301cole",
    "🎂🎈 happy birthday 🎉",
    "👨‍👩‍👧‍👦",
    "海辺の散歩 и прогулка по берегу",
    "an [SEP] inside, a [PAD], a </s> and a <pad> as well",
    "https://example.org/?q=1&r=2 me@example.org 12:34:56.789",
    "x" * 150,
    "a \u0000 control \u200b character \ufeff",
    "the dog and the cake and the lake and the boat and the snow " * 8,
    "grandma " + "sings, " * 60 + "and the text ends behind the limit",
    "İstanbul ǅ ß ﬁ ½",
]


def randomize(model, seed):
    """Draws all weights, norms included, with a spread that makes the layers matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        scale = 0.2 if "LayerNorm" in name else 1.0 if "embeddings" in name else 0.25
        tensor.data = scale * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0)
    return model.eval()


def word_pieces():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=180, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def unigrams():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return tokenizer


def write_bert(directory):
    tokenizer = word_pieces()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=48, layer_norm_eps=1e-3,
    )  # fmt: skip
    randomize(BertModel(config, add_pooling_layer=False), 1).save_pretrained(directory)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=512,
    ).save_pretrained(directory)  # fmt: skip
    # As published files have it: what the loader must replace.
    saved = json.loads((directory / "tokenizer.json").read_text())
    saved["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    saved["padding"] = {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                        "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
    write_json(directory / "tokenizer.json", saved)
    prefix = "sentence_transformers.models."
    parts = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(directory / "modules.json", [
        {"idx": index, "name": str(index), "path": path, "type": prefix + name} for index, (path, name) in enumerate(parts)
    ])  # fmt: skip
    write_json(directory / "1_Pooling" / "config.json", {
        "word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    })  # fmt: skip
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
    write_json(
        directory / "config_sentence_transformers.json",
        {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}},
    )


def write_xlm_r(directory):
    tokenizer = unigrams()
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size() + 3, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=66, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1,
    )  # fmt: skip
    parts = directory.with_name("parts")
    randomize(XLMRobertaModel(config, add_pooling_layer=False), 2).save_pretrained(parts)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="<s>", sep_token="</s>", mask_token="<mask>", model_max_length=64,
    ).save_pretrained(parts)  # fmt: skip
    network = modules.Transformer(str(parts))
    sentence = SentenceTransformer(
        modules=[network, modules.Pooling(24, "cls")], device="cpu",
        prompts={"query": "query: ", "document": "passage: "},
    )  # fmt: skip
    sentence.save_pretrained(str(directory), create_model_card=False)
    shutil.rmtree(parts)


def write_vectors(out, name):
    sentence = SentenceTransformer(str(out / name), device="cpu")
    tensors = {
        "query": sentence.encode_query(TEXTS, convert_to_tensor=True),
        "passage": sentence.encode_document(TEXTS, convert_to_tensor=True),
    }
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out / f"{name}.safetensors")
    write_json(out / f"{name}.json", {"texts": TEXTS})
    print(f"{name}: {len(TEXTS)} texts, at most {sentence.max_seq_length} tokens, {tensors['query'].shape[1]} numbers")


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("server/engine/tests/parity/embed"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for name, write in (("bert", write_bert), ("xlm-r", write_xlm_r)):
        shutil.rmtree(out / name, ignore_errors=True)
        write(out / name)
        write_vectors(out, name)


if __name__ == "__main__":
    main()
