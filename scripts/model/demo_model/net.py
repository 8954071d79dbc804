"""The forward pass of Qwen3-VL on packed batches: one clip's tokens once, many questions after them.

It works on the parameters of `Qwen3VLForConditionalGeneration` and equals its forward (`check` in the script), but the
clip's tokens (the prefix) are computed once, and each question sees the prefix and itself only.
"""

import torch
import torch.nn.functional as F
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

_grids = {}


def grid_tables(model, h, w):
    """Position tables of one temporal group of h x w patches: (indices, weights, cos, sin)."""
    if (h, w) not in _grids:
        v = model.model.visual
        g = torch.tensor([[1, h, w]])
        index, weight = get_vision_interpolation_indices_and_weights(
            g, num_grid_per_side=v.num_grid_per_side, mode=v.interpolation_mode,
            align_corners=v.interpolation_align_corners, spatial_merge_size=2, kwargs={})  # fmt: skip
        cos, sin = v.rotary_pos_emb(torch.zeros(1), get_vision_position_ids(g, 2, kwargs={}))
        _grids[h, w] = (index, weight, cos, sin)
    return _grids[h, w]


def rotate(x, cos, sin):
    """Rotary embedding, halves convention."""
    x1, x2 = x.chunk(2, -1)
    return x * cos + torch.cat((-x2, x1), -1) * sin


def patches(frames):
    """uint8 frames [n, 3, H, W] of even n to rows [n/2, H*W/256, 1536] in merge-block order."""
    n, c, h, w = frames.shape
    x = (frames.float() - 127.5) / 127.5
    x = x.view(n // 2, 2, c, h // 32, 2, 16, w // 32, 2, 16).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return x.reshape(n // 2, h * w // 256, c * 512)


def vision(model, rows, h, w):
    """Vision tower on groups [G, h*w, 1536] of one grid: merged features [G, h*w/4, D] and the deepstack list."""
    v = model.model.visual
    index, weight, cos, sin = grid_tables(model, h, w)
    g, n, _ = rows.shape
    proj = v.patch_embed.proj
    x = F.linear(rows, proj.weight.flatten(1), proj.bias)
    x = x + (v.pos_embed(index) * weight[:, :, None]).sum(1)
    deep = []
    for i, b in enumerate(v.blocks):
        qkv = b.attn.qkv(b.norm1(x)).view(g, n, 3, b.attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rotate(qkv[0], cos, sin), rotate(qkv[1], cos, sin)
        y = F.scaled_dot_product_attention(q, k, qkv[2])
        x = x + b.attn.proj(y.transpose(1, 2).reshape(g, n, -1))
        x = x + b.mlp(b.norm2(x))
        if i in v.deepstack_visual_indexes:
            deep.append(v.deepstack_merger_list[v.deepstack_visual_indexes.index(i)](x).view(g, n // 4, -1))
    return v.merger(x).view(g, n // 4, -1), deep


def text_tables(model, pos):
    """Interleaved M-RoPE cos and sin for positions [3, B, L]: each [B, L, head_dim]."""
    rot = model.model.language_model.rotary_emb
    return rot(torch.zeros(1), pos)


def attention(q, kp, vp, ks, vs, mask):
    """Attention of segment rows [B, R, H, L, d] over the prefix [B, H, P, d] and over their own row."""
    b, r, heads, _, d = q.shape
    p = kp.shape[2]

    def beside(prefix, own):
        return torch.cat((prefix[:, None].expand(b, r, heads, p, d), own), 3).flatten(0, 1)

    return F.scaled_dot_product_attention(q.flatten(0, 1), beside(kp, ks), beside(vp, vs), attn_mask=mask).view(q.shape)


def text(model, x, pos, x2, pos2, lengths, own_mask, visual_at, deep):
    """Text model on a prefix x [B, P, D] and segment rows x2 [B, R, L, D]; returns the hidden state of the rows.

    `lengths` are the true prefix lengths, `own_mask` [B, R, L, L] says which token of its row a token sees,
    `visual_at` the flat indices of visual tokens in the prefix, `deep` their deepstack features.
    """
    return text_and_prefix(model, x, pos, x2, pos2, lengths, own_mask, visual_at, deep)[0]


def gaze(q, kp, ks, mask, aim, heads=(0, 2)):
    """How well the tokens that have an aim look there: -log of the share of `heads`' attention, mean.

    q, ks [B, R, H, L, d], kp [B, H, P, d], mask [B*R, 1, L, P+L], aim [B, R, L] (a place in the prefix, or -1).
    """
    b, r, at = (aim >= 0).nonzero(as_tuple=True)
    if not len(b):
        return q.sum() * 0.0
    heads = torch.tensor(heads)
    query = q[b, r, :, at][:, heads] / q.shape[-1] ** 0.5
    far = torch.einsum("nhd,nhpd->nhp", query, kp[b][:, heads])
    near = torch.einsum("nhd,nhpd->nhp", query, ks[b, r][:, heads])
    score = torch.cat((far, near), -1) + mask[b * aim.shape[1] + r, 0, at][:, None]
    target = aim[b, r, at][:, None, None].expand(-1, len(heads), 1)
    return -score.log_softmax(-1).gather(-1, target).mean()


def text_and_prefix(model, x, pos, x2, pos2, lengths, own_mask, visual_at, deep, tap=2, aim=None):
    """As `text`, and the hidden state of the prefix after layer `tap`, and how well the layer after it looks at `aim`."""
    m = model.model.language_model
    b, p, dim = x.shape
    r, n = x2.shape[1:3]
    cos, sin = (t[:, None] for t in text_tables(model, pos))
    cos2, sin2 = (t.view(b, r, 1, n, -1) for t in text_tables(model, pos2.flatten(2)))
    keep = (torch.arange(p) < lengths[:, None])[:, None, None].expand(b, r, n, p)
    mask = torch.zeros(b * r, 1, n, p + n).masked_fill_(~torch.cat((keep, own_mask), -1).view(b * r, 1, n, p + n), -1e9)
    last, tapped, looked = len(m.layers) - 1, None, None
    for i, layer in enumerate(m.layers):
        at = layer.self_attn
        groups = at.num_key_value_groups
        y = layer.input_layernorm(x)
        k = rotate(at.k_norm(at.k_proj(y).view(b, p, -1, at.head_dim)).transpose(1, 2), cos, sin)
        v = at.v_proj(y).view(b, p, -1, at.head_dim).transpose(1, 2)
        kp, vp = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        if i < last:
            q = rotate(at.q_norm(at.q_proj(y).view(b, p, -1, at.head_dim)).transpose(1, 2), cos, sin)
            a = F.scaled_dot_product_attention(q, kp, vp, is_causal=True)
        y2 = layer.input_layernorm(x2)
        q2 = rotate(at.q_norm(at.q_proj(y2).view(b, r, n, -1, at.head_dim)).transpose(2, 3), cos2, sin2)
        k2 = rotate(at.k_norm(at.k_proj(y2).view(b, r, n, -1, at.head_dim)).transpose(2, 3), cos2, sin2)
        v2 = at.v_proj(y2).view(b, r, n, -1, at.head_dim).transpose(2, 3)
        if aim is not None and i == tap + 1:
            looked = gaze(q2, kp, k2.repeat_interleave(groups, 2), mask, aim)
        a2 = attention(q2, kp, vp, k2.repeat_interleave(groups, 2), v2.repeat_interleave(groups, 2), mask)
        x2 = x2 + at.o_proj(a2.transpose(2, 3).reshape(b, r, n, -1))
        x2 = x2 + layer.mlp(layer.post_attention_layernorm(x2))
        if i < last:  # nothing reads the prefix after the last layer
            x = x + at.o_proj(a.transpose(1, 2).reshape(b, p, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            if i < len(deep):
                x = x.view(-1, dim).index_add(0, visual_at, deep[i]).view(b, p, dim)
        tapped = x if i == tap else tapped
    return m.norm(x2), tapped, looked
