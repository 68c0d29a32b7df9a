import type { Tensor, Weight } from '../native.ts'
import * as ops from '../ops/index.ts'
import { rowsOf, type Weights } from '../weights/weights.ts'
import type { Norm } from './norm.ts'
import type { Step } from './step.ts'

export interface VocabularyShape {
  vocabSize: number
  hiddenSize: number
  tieWordEmbeddings: boolean
}

export interface VocabularyOptions {
  /** Factor of the embeddings. */
  embeddingScale?: number | undefined
  /** Factor of the logits. */
  logitScale?: number | undefined
  /** Name of the embeddings, without `.weight`. */
  table?: string | undefined
  /** Whether the head has a bias. */
  headBias?: boolean | undefined
}

/** Token embedding, final norm and output head, tied or not. */
export class Vocabulary {
  readonly #table: Tensor
  readonly #norm: Norm
  readonly #head: { weight: Weight; bias: Tensor | undefined; scale: number | undefined }
  readonly #embeddingScale: number | undefined

  /** @param norm the final one */
  constructor(
    weights: Weights,
    config: VocabularyShape,
    norm: Norm,
    options: VocabularyOptions = {},
  ) {
    const { embeddingScale, logitScale, table: name = 'model.embed_tokens', headBias } = options
    const shape = [config.vocabSize, config.hiddenSize]
    const own = 'lm_head.weight'
    const first = `${name}.weight`
    // One that is in the file is read, as in transformers 5: where both are there they may differ, and files that were
    // saved without what is shared may have the head alone.
    const headOnly = config.tieWordEmbeddings && !weights.has(first) && weights.has(own)
    const tied = config.tieWordEmbeddings && (headOnly || !weights.has(own))
    const table = headOnly ? own : first
    // A tied head is the table's parameters again: counted once, as the head that every token uses.
    this.#table = weights.table(table, shape, tied ? 'dense' : 'embedding')
    this.#norm = norm
    this.#head = {
      weight: weights.matrix([rowsOf(tied ? table : own, shape)], {
        share: tied ? 'none' : 'dense',
        part: 'head',
      }),
      bias: headBias ? weights.vector('lm_head.bias', [config.vocabSize]) : undefined,
      scale: logitScale,
    }
    this.#embeddingScale = embeddingScale
  }

  /** ids [T] -> x [T, H] */
  embed(step: Step): Tensor {
    const scale = this.#embeddingScale
    return ops.embedding(step.plan, { table: this.#table, ids: step.ids, scale }).out
  }

  /** x [T, H] -> logits [R, V] of the rows asked for */
  logits(step: Step, x: Tensor): Tensor | undefined {
    const { plan, logitRows } = step
    if (!logitRows) return undefined
    const last = ops.gatherRows(plan, { x, rows: logitRows }).out // [R, H]
    return ops.linear(plan, { x: this.#norm.forward(step, last), ...this.#head }).out
  }
}
