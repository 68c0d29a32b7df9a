import path from 'node:path'
import { readStored, type StoredTensor, writeStored } from './files.ts'

/** Several tensors of one shape as one with a dimension more. */
const stacked = (shape: number[], all: StoredTensor[]): StoredTensor => ({
  dtype: all[0]!.dtype,
  shape: [all.length, ...shape],
  data: Buffer.concat(all.map(({ data }) => data)),
})

/** A Mixtral or Phi-3.5-MoE of transformers 4 under the names of 5: rows of w1 before those of w3, for each expert. */
export function fuseExperts(dir: string): void {
  const file = path.join(dir, 'model.safetensors')
  const tensors = readStored(file)
  const take = (name: string): StoredTensor => {
    const tensor = tensors.get(name)!
    tensors.delete(name)
    return tensor
  }
  for (let l = 0; tensors.has(`model.layers.${l}.block_sparse_moe.gate.weight`); l++) {
    const [from, to] = ['block_sparse_moe', 'mlp'].map((name) => `model.layers.${l}.${name}`)
    const gate = take(`${from}.gate.weight`)
    const experts = Array.from({ length: gate.shape[0]! }, (_, e) =>
      ['w1', 'w3', 'w2'].map((w) => take(`${from}.experts.${e}.${w}.weight`)),
    )
    const [I, H] = experts[0]![0]!.shape as [number, number]
    const up = experts.flatMap(([w1, w3]) => [w1!, w3!])
    tensors.set(`${to}.gate.weight`, gate)
    tensors.set(`${to}.experts.gate_up_proj`, {
      ...stacked([I, H], up),
      shape: [experts.length, 2 * I, H],
    })
    tensors.set(
      `${to}.experts.down_proj`,
      stacked(
        [H, I],
        experts.map((e) => e[2]!),
      ),
    )
  }
  writeStored(file, tensors)
}
