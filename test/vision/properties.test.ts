import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Classification, loadModel, type VisionModel } from '../../lib/index.ts'
import { fixture, maxDifference } from '../support/golden.ts'
import { simulated } from '../support/gpus.ts'

// An image's result depends on the image alone: not on others, their pixels' type, or what else is asked for.

const image = fc.record({ seed: fc.nat(9999), bytes: fc.boolean() })
const call = fc.record({
  images: fc.array(image, { minLength: 1, maxLength: 4 }),
  routing: fc.boolean(),
  embed: fc.boolean(),
})

function pixelsOf({ seed, bytes }: { seed: number; bytes: boolean }, model: VisionModel) {
  const { imageWidth: width, imageHeight: height, channels } = model.config
  const value = (_: number, i: number) => Math.sin(seed + i * (1 + (seed % 7)))
  const count = width * height * channels
  const numbers = Float32Array.from({ length: count }, value)
  const data = bytes ? Uint8Array.from(numbers, (v) => 127.5 * (v + 1)) : numbers
  return { data, width, height }
}

type Call = typeof call extends fc.Arbitrary<infer T> ? T : never

const run = async (model: VisionModel, { images, routing, embed }: Call) => {
  const pixels = images.map((one) => pixelsOf(one, model))
  return embed ? model.embed(pixels, { routing }) : model.classify(pixels, { routing })
}

const devices = [
  { device: 'cpu', runs: 20, most: 4 },
  { device: 'cuda-sim', runs: 1, most: 2 },
] as const
const folders = ['top2-token-f32', 'expert-choice-map-f32', 'slots1-gap-f32']

describe.each(simulated ? devices : devices.slice(0, 1))(
  'a vision transformer on $device',
  ({ device, runs, most }) => {
    it.each(device === 'cpu' ? folders : folders.slice(1, 2))(
      'calls at once give what each image gives alone: %s',
      async (folder) => {
        const dir = fixture('golden/vision', folder)
        await using model = await loadModel<VisionModel>(dir, { device, dtype: 'f32' })
        await fc.assert(
          fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: most }), async (calls) => {
            const together = await Promise.all(calls.map((one) => run(model, one)))
            for (const [i, { images, routing, embed }] of calls.entries())
              for (const [j, one] of images.entries()) {
                const [alone] = await run(model, { images: [one], routing, embed })
                const got = together[i]![j]!
                if (device === 'cpu') expect(got).toEqual(alone)
                // Bits of few rows and many differ on a GPU.
                else if (!embed)
                  expect(
                    maxDifference((got as Classification).logits, (alone as Classification).logits),
                  ).toBeLessThan(5e-5)
              }
          }),
          { numRuns: runs, seed: 1 },
        )
      },
    )
  },
)
