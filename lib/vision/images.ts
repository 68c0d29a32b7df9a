import { fileURLToPath } from 'node:url'
import { badOption, MoeError, shown } from '../errors.ts'
import type { VisionConfig } from './config.ts'

/** An image of the model's size: rows of pixels, a pixel's channels side by side. */
export interface ImageData {
  /** [height, width, channels], values from -1 to 1, or bytes from 0 to 255. */
  data: Float32Array | Uint8Array | Uint8ClampedArray
  width: number
  height: number
}

/**
 * An image; or a file, by its path, its `file:` URL or its bytes, which `sharp` then reads, turns upright and resizes. It is
 * installed apart.
 */
export type ImageInput = ImageData | ImageFile

/** A file that `sharp` reads: its path, or what is in it. */
type ImageFile = string | URL | Uint8Array

const isFile = (input: unknown): input is ImageFile =>
  typeof input === 'string' || input instanceof URL || input instanceof Uint8Array

type Size = Pick<VisionConfig, 'imageWidth' | 'imageHeight' | 'channels'>

/** The images one behind the other, all as bytes or all as numbers. */
export function joinImages(images: readonly ImageData[]): Float32Array | Uint8Array {
  const bytes = images.every(({ data }) => !(data instanceof Float32Array))
  const length = images.reduce((n, { data }) => n + data.length, 0)
  const all = bytes ? new Uint8Array(length) : new Float32Array(length)
  let at = 0
  for (const { data } of images) {
    const same = bytes || data instanceof Float32Array
    all.set(same ? data : Float32Array.from(data, (v) => Math.fround(v / 127.5) - 1), at) // the op's bits
    at += data.length
  }
  return all
}

/** A caller's images, copied and checked; files are left for `openImages`. */
export const readImages = (
  where: string,
  inputs: readonly unknown[],
  size: Size,
): (ImageData | ImageFile)[] =>
  inputs.map((input, i) => {
    if (input instanceof Uint8Array) return new Uint8Array(input)
    return isFile(input) ? input : checkImage(where, `images[${i}]`, input, size)
  })

/** Images with what their files have. */
export const openImages = (
  where: string,
  images: readonly (ImageData | ImageFile)[],
  size: Size,
): Promise<ImageData[]> =>
  Promise.all(images.map((one) => (isFile(one) ? readFile(where, one, size) : one)))

function checkImage(where: string, name: string, input: unknown, size: Size): ImageData {
  const { data, width, height } = (input ?? {}) as Partial<ImageData>
  const numbers = data instanceof Float32Array
  if (!numbers && !(data instanceof Uint8Array) && !(data instanceof Uint8ClampedArray))
    badOption(where, name, '{ data: Float32Array or Uint8Array, width, height } or a file', input)
  const { imageWidth, imageHeight, channels } = size
  if (width !== imageWidth || height !== imageHeight)
    throw new MoeError(
      'ERR_MOE_SHAPE',
      `${where}: ${name} must be ${imageWidth} x ${imageHeight} (width x height), got ${shown(width)} x ${shown(height)}`,
    )
  const length = imageWidth * imageHeight * channels
  if (data.length !== length)
    throw new MoeError(
      'ERR_MOE_SHAPE',
      `${where}: ${name}.data must have ${length} values, ${channels} a pixel, got ${data.length}`,
    )
  return { data: numbers ? new Float32Array(data) : new Uint8Array(data), width, height }
}

interface Sharp {
  (file: string | Uint8Array): Sharp
  /** As its camera was held. */
  rotate(): Sharp
  resize(width: number, height: number, options: { fit: 'fill' }): Sharp
  removeAlpha(): Sharp
  toColourspace(space: 'srgb' | 'b-w'): Sharp
  raw(): Sharp
  toBuffer(): Promise<Uint8Array>
}

async function readFile(where: string, given: ImageFile, size: Size): Promise<ImageData> {
  const file = given instanceof URL ? fileURLToPath(given) : given
  const name = typeof file === 'string' ? file : `a file of ${file.length} bytes`
  // @ts-expect-error its types are there where it is installed
  const sharp: Sharp = await import('sharp').then(
    (module) => module.default,
    () => {
      throw new MoeError(
        'ERR_MOE_UNSUPPORTED',
        `${where}: images must be { data, width, height } where sharp is not installed (npm install sharp reads files), got ${shown(name)}`,
      )
    },
  )
  const { imageWidth: width, imageHeight: height, channels } = size
  try {
    const pixels = sharp(file).rotate().resize(width, height, { fit: 'fill' }).removeAlpha()
    const data = await pixels
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw()
      .toBuffer()
    return checkImage(where, name, { data: new Uint8Array(data), width, height }, size)
  } catch (error) {
    if (error instanceof MoeError) throw error
    throw new MoeError('ERR_MOE_OPTION', `${where}: ${name} must be an image that sharp reads`, {
      cause: error,
    })
  }
}
