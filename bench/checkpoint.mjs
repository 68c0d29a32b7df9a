// Writes checkpoints of Mixtral's architecture with random weights: the same numbers as safetensors and as GGUF.
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'

/**
 * The shapes of the targets: A fits a laptop's cache poorly, B has many experts, `olmoe` and `qwen3` (OLMoE-1B-7B,
 * Qwen3-30B-A3B) many small ones. These two have few of their layers and as much less vocabulary; qwen3 has half its heads,
 * since heads here are as wide together as the hidden state.
 */
export const shapes = {
  A: {
    hidden: 1024,
    layers: 8,
    heads: 16,
    kv: 8,
    ffn: 2048,
    experts: 8,
    topK: 2,
    vocab: 32000,
    context: 4096,
  },
  B: {
    hidden: 2048,
    layers: 4,
    heads: 16,
    kv: 8,
    ffn: 2048,
    experts: 32,
    topK: 2,
    vocab: 32000,
    context: 4096,
  },
  olmoe: {
    hidden: 2048,
    layers: 2,
    heads: 16,
    kv: 16,
    ffn: 1024,
    experts: 64,
    topK: 8,
    vocab: 6400,
    context: 4096,
  },
  qwen3: {
    hidden: 2048,
    layers: 2,
    heads: 16,
    kv: 2,
    ffn: 768,
    experts: 128,
    topK: 8,
    vocab: 6400,
    context: 4096,
  },
  tiny: {
    hidden: 64,
    layers: 2,
    heads: 4,
    kv: 2,
    ffn: 96,
    experts: 4,
    topK: 2,
    vocab: 512,
    context: 512,
  },
}

const poolSize = 1 << 22
const pool = new Float32Array(poolSize)
let state = 7
const uniform = () => {
  state = (state + 0x6d2b79f5) | 0
  let t = Math.imul(state ^ (state >>> 15), 1 | state)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
for (let i = 0; i < poolSize; i++)
  pool[i] = Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())

/** Bits of the nearest f16 of a number in its range. */
function toF16(value) {
  const [bits] = new Uint32Array(Float32Array.of(value).buffer)
  const size = Math.abs(value)
  if (size < 2 ** -14) return ((bits >>> 16) & 0x8000) | Math.round(size * 2 ** 24)
  const rounded = bits + 0xfff + ((bits >>> 13) & 1)
  return (
    ((bits >>> 16) & 0x8000) | ((((rounded >>> 23) & 255) - 112) << 10) | ((rounded >>> 13) & 1023)
  )
}

/**
 * GGUF's blocks of 32 values (ggml's q8_0 and q4_0): an f16 scale, then bytes, or nibbles of value + 8 with the first half
 * of the block in the low ones.
 */
function encodeBlocks(values, dtype) {
  const blockBytes = 32 * bytesOf[dtype]
  const out = Buffer.alloc((values.length / 32) * blockBytes)
  for (let b = 0, at = 0; b < values.length; b += 32, at += blockBytes) {
    const block = values.subarray(b, b + 32)
    const extreme = block.reduce((most, v) => (Math.abs(v) > Math.abs(most) ? v : most), 0)
    const scale = dtype === 'q8_0' ? Math.abs(extreme) / 127 : extreme / -8
    const q = (i) => (scale === 0 ? 0 : Math.round(block[i] / scale))
    out.writeUInt16LE(scale === 0 ? 0 : toF16(scale), at)
    if (dtype === 'q8_0') for (let i = 0; i < 32; i++) out.writeInt8(q(i), at + 2 + i)
    else
      for (let i = 0; i < 16; i++)
        out[at + 2 + i] = Math.min(q(i) + 8, 15) | (Math.min(q(i + 16) + 8, 15) << 4)
  }
  return out
}

function encode(scale, dtype) {
  const scaled = pool.map((v) => v * scale)
  if (dtype.startsWith('q')) return encodeBlocks(scaled, dtype)
  if (dtype === 'f32') return Buffer.from(scaled.buffer)
  const bits = new Uint32Array(scaled.buffer)
  return Buffer.from(Uint16Array.from(bits, (b) => (b + 0x7fff + ((b >>> 16) & 1)) >>> 16).buffer)
}

/** The residual branch is scaled down so that routing stays spread over the experts. */
function tensors(c, dtype) {
  const { hidden: H, ffn: F, experts: E, vocab: V } = c
  const KV = (H / c.heads) * c.kv
  const norm = (hf, gguf) => ({
    parts: [{ hf, shape: [H] }],
    gguf,
    dims: [H],
    dtype: 'f32',
    scale: 0,
  })
  const one = (hf, gguf, shape, scale, type = dtype) => ({
    ...{ parts: [{ hf, shape }], gguf, dims: [...shape].reverse(), dtype: type, scale },
  })
  const experts = (l, w, gguf, shape, scale) => ({
    parts: Array.from({ length: E }, (_, e) => ({
      hf: `model.layers.${l}.block_sparse_moe.experts.${e}.${w}.weight`,
      shape,
    })),
    ...{ gguf, dims: [...[...shape].reverse(), E], dtype, scale },
  })
  const list = [
    one('model.embed_tokens.weight', 'token_embd.weight', [V, H], 1),
    norm('model.norm.weight', 'output_norm.weight'),
    one('lm_head.weight', 'output.weight', [V, H], H ** -0.5),
  ]
  for (let l = 0; l < c.layers; l++) {
    const [p, b, s] = [`model.layers.${l}`, `blk.${l}`, H ** -0.5]
    list.push(
      norm(`${p}.input_layernorm.weight`, `${b}.attn_norm.weight`),
      norm(`${p}.post_attention_layernorm.weight`, `${b}.ffn_norm.weight`),
      one(`${p}.self_attn.q_proj.weight`, `${b}.attn_q.weight`, [H, H], s),
      one(`${p}.self_attn.k_proj.weight`, `${b}.attn_k.weight`, [KV, H], s),
      one(`${p}.self_attn.v_proj.weight`, `${b}.attn_v.weight`, [KV, H], s),
      one(`${p}.self_attn.o_proj.weight`, `${b}.attn_output.weight`, [H, H], 0.2 * s),
      one(`${p}.block_sparse_moe.gate.weight`, `${b}.ffn_gate_inp.weight`, [E, H], s, 'f32'),
      experts(l, 'w1', `${b}.ffn_gate_exps.weight`, [F, H], s),
      experts(l, 'w3', `${b}.ffn_up_exps.weight`, [F, H], s),
      experts(l, 'w2', `${b}.ffn_down_exps.weight`, [H, F], 0.2 * F ** -0.5),
    )
  }
  return list
}

const count = (shape) => shape.reduce((n, dim) => n * dim, 1)
const bytesOf = { f32: 4, bf16: 2, q8_0: 34 / 32, q4_0: 18 / 32 }

/** With the matrices that `weights` quantises as the blocks that the peer has for them: the same parts in as many bits. */
function blocks(list, weights) {
  if (!weights) return list
  const typeOf = ({ gguf, dims, dtype }) => {
    if (gguf === 'token_embd.weight' || dims.length === 1 || gguf.includes('gate_inp')) return dtype
    return weights === 'int4' && dims.length === 3 ? 'q4_0' : 'q8_0'
  }
  return list.map((tensor) => ({ ...tensor, dtype: typeOf(tensor) }))
}

/** Writes one tensor's numbers: a stretch of the pool, another one for each tensor. */
function writeNumbers(fd, encoded, { dtype, scale, dims }, index) {
  const size = bytesOf[dtype]
  let left = count(dims) * size
  if (scale === 0) return writeSync(fd, Buffer.from(new Float32Array(count(dims)).fill(1).buffer))
  const key = `${dtype} ${scale}`
  if (!encoded.has(key)) encoded.set(key, encode(scale, dtype))
  const bytes = encoded.get(key)
  let at = ((index * 7919 * 4096) % poolSize) * size
  while (left > 0) {
    const n = Math.min(left, bytes.length - at)
    writeSync(fd, bytes, at, n)
    left -= n
    at = 0
  }
}

function writeSafetensors(dir, c, list, dtype) {
  mkdirSync(dir, { recursive: true })
  const header = {}
  let at = 0
  for (const { parts, dtype: type } of list)
    for (const { hf, shape } of parts) {
      const end = at + count(shape) * bytesOf[type]
      header[hf] = { dtype: type.toUpperCase(), shape, data_offsets: [at, end] }
      at = end
    }
  const text = Buffer.from(
    JSON.stringify(header).padEnd(Math.ceil(JSON.stringify(header).length / 8) * 8),
  )
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const fd = openSync(path.join(dir, 'model.safetensors'), 'w')
  writeSync(fd, Buffer.concat([length, text]))
  const encoded = new Map()
  for (const [i, tensor] of list.entries()) writeNumbers(fd, encoded, tensor, i)
  closeSync(fd)
  writeFileSync(
    path.join(dir, 'config.json'),
    JSON.stringify({
      ...{
        model_type: 'mixtral',
        architectures: ['MixtralForCausalLM'],
        vocab_size: c.vocab,
        hidden_size: c.hidden,
      },
      ...{ intermediate_size: c.ffn, num_hidden_layers: c.layers, num_attention_heads: c.heads },
      ...{
        num_key_value_heads: c.kv,
        num_local_experts: c.experts,
        num_experts_per_tok: c.topK,
        rms_norm_eps: 1e-5,
      },
      ...{
        rope_theta: 1e6,
        max_position_embeddings: c.context,
        torch_dtype: dtype === 'bf16' ? 'bfloat16' : 'float32',
      },
    }),
  )
}

const u32 = (n) => {
  const b = Buffer.alloc(4)
  b.writeUInt32LE(n)
  return b
}
const u64 = (n) => {
  const b = Buffer.alloc(8)
  b.writeBigUInt64LE(BigInt(n))
  return b
}
const f32 = (n) => {
  const b = Buffer.alloc(4)
  b.writeFloatLE(n)
  return b
}
const str = (text) => Buffer.concat([u64(Buffer.byteLength(text)), Buffer.from(text)])

function ggufMetadata(c, dtype) {
  const [U32, I32, F32, STR, ARRAY] = [4, 5, 6, 8, 9]
  const tokens = [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from(
      { length: 256 },
      (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
    ),
  ]
  while (tokens.length < c.vocab) tokens.push(`t${tokens.length - 259}`)
  const array = (type, items) => Buffer.concat([u32(type), u64(items.length), ...items])
  const llama = {
    ...{
      context_length: c.context,
      embedding_length: c.hidden,
      block_count: c.layers,
      feed_forward_length: c.ffn,
    },
    ...{
      'attention.head_count': c.heads,
      'attention.head_count_kv': c.kv,
      'rope.dimension_count': c.hidden / c.heads,
    },
    ...{ vocab_size: c.vocab, expert_count: c.experts, expert_used_count: c.topK },
  }
  const entries = [
    ['general.architecture', STR, str('llama')],
    ['general.name', STR, str('random-moe')],
    ['general.file_type', U32, u32({ f32: 0, bf16: 32, int8: 7, int4: 2 }[dtype])],
    ...Object.entries(llama).map(([key, value]) => [`llama.${key}`, U32, u32(value)]),
    ['llama.rope.freq_base', F32, f32(1e6)],
    ['llama.attention.layer_norm_rms_epsilon', F32, f32(1e-5)],
    ['tokenizer.ggml.model', STR, str('llama')],
    ['tokenizer.ggml.tokens', ARRAY, array(STR, tokens.map(str))],
    [
      'tokenizer.ggml.scores',
      ARRAY,
      array(
        F32,
        tokens.map((_, i) => f32(i < 259 ? 0 : 259 - i)),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      ARRAY,
      array(
        I32,
        tokens.map((_, i) => u32(i === 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1)),
      ),
    ],
    ['tokenizer.ggml.bos_token_id', U32, u32(1)],
    ['tokenizer.ggml.eos_token_id', U32, u32(2)],
    ['tokenizer.ggml.unknown_token_id', U32, u32(0)],
  ]
  return {
    count: entries.length,
    bytes: Buffer.concat(entries.flatMap(([key, type, value]) => [str(key), u32(type), value])),
  }
}

function writeGguf(file, c, list, dtype) {
  const align = (n) => Math.ceil(n / 32) * 32
  const types = { f32: 0, bf16: 30, q8_0: 8, q4_0: 2 }
  let offset = 0
  const infos = list.map(({ gguf, dims, dtype: type }) => {
    const info = [str(gguf), u32(dims.length), ...dims.map(u64), u32(types[type]), u64(offset)]
    offset += align(count(dims) * bytesOf[type])
    return Buffer.concat(info)
  })
  const metadata = ggufMetadata(c, dtype)
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(list.length),
    u64(metadata.count),
    metadata.bytes,
    ...infos,
  ])
  const fd = openSync(file, 'w')
  writeSync(fd, Buffer.concat([head, Buffer.alloc(align(head.length) - head.length)]))
  const encoded = new Map()
  for (const [i, tensor] of list.entries()) {
    writeNumbers(fd, encoded, tensor, i)
    const size = count(tensor.dims) * bytesOf[tensor.dtype]
    writeSync(fd, Buffer.alloc(align(size) - size))
  }
  closeSync(fd)
}

/** Experts that a step of `batch` tokens reads, by expectation where every choice is as likely. */
export const distinctExperts = (c, batch) => c.experts * (1 - (1 - c.topK / c.experts) ** batch)

/** Multiplications and additions of one token, by part, without the head and attention's own. */
export function tokenFlops({ hidden: H, ffn: F, kv, heads, experts: E, topK, layers: L }) {
  return {
    experts: L * 6 * H * F * topK,
    dense: L * 2 * (H * (H + 2 * (H / heads) * kv) + H * H + H * E),
  }
}

/** Bytes of weights that a step of `batch` tokens reads; of quantised ones, those of the peer's blocks. */
export function activeBytes(c, dtype, batch = 1, weights = undefined) {
  const share = distinctExperts(c, batch) / c.experts
  return blocks(tensors(c, dtype), weights)
    .filter(({ gguf }) => gguf !== 'token_embd.weight')
    .reduce(
      (n, { dims, dtype: type, parts }) =>
        n + count(dims) * bytesOf[type] * (parts.length > 1 ? share : 1),
      0,
    )
}

/** Writes the folder `dir/hf`, and `dir/model.gguf` for the peer, of blocks for `weights` int8 or int4. */
export function writeCheckpoint(dir, c, dtype, { gguf = false, weights = undefined } = {}) {
  const list = tensors(c, dtype)
  writeSafetensors(path.join(dir, 'hf'), c, list, dtype)
  if (gguf) writeGguf(path.join(dir, 'model.gguf'), c, blocks(list, weights), weights ?? dtype)
}
