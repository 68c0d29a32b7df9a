export const inRegisters: RegExp
export const instructions: [file: string, architecture: string, pattern: RegExp][]
export function compiler(): string | undefined
export function kernels(): {
  file: string
  name: string
  architecture: string
  spilled: number
  registers: number
}[]
export function complaints(): string[]
export function missing(): string[]
