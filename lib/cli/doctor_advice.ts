import type { DeviceInfo } from '../device.ts'
import type { Machine } from './machine.ts'

/** What CUDA 13 needs. */
const oldestDriver = 580

function gpuAdvice(machine: Machine, gpus: readonly DeviceInfo[]): string[] {
  const { driver, nvidiaDevices, settings } = machine
  if (gpus.some(({ available }) => available)) return []
  const reason = gpus.map((gpu) => gpu.reason).join('; ')
  if (settings.MOE_CUDA === 'off')
    return ['GPUs are switched off: unset MOE_CUDA in the environment to use them.']
  if (nvidiaDevices === 0 && driver === undefined) return []
  if (driver === undefined)
    return [`An NVIDIA GPU is there and has no driver: install version ${oldestDriver} or newer.`]
  if (Number.parseFloat(driver) < oldestDriver)
    return [
      `The NVIDIA driver ${driver} is older than CUDA 13 needs: update it to ${oldestDriver} or newer.`,
    ]
  if (/no CUDA backend/.test(reason))
    return [
      'An NVIDIA GPU is there and this build is for the CPU: take the package for Linux x64, or build in a clone ' +
        'with nvcc 13 in the PATH (npm run build).',
    ]
  if (settings.CUDA_VISIBLE_DEVICES !== undefined && /no NVIDIA GPU/.test(reason))
    return [
      `CUDA_VISIBLE_DEVICES=${settings.CUDA_VISIBLE_DEVICES} hides the GPUs: unset it, or name one that is there.`,
    ]
  return [`An NVIDIA GPU is there and not usable: ${reason}.`]
}

function cpuAdvice(machine: Machine, cpu: DeviceInfo): string[] {
  const advice: string[] = []
  const { isa, isas = [], threads = 0 } = cpu
  const { settings, cores, platform } = machine
  if (settings.MOE_CPU_ISA !== undefined && isa !== isas.at(-1))
    advice.push(
      `MOE_CPU_ISA=${settings.MOE_CPU_ISA} chooses the ${isa} kernels, where this machine has ${isas.at(-1)}: unset it.`,
    )
  if (isas.length === 1 && platform.endsWith('x64'))
    advice.push(
      'The CPU has no AVX2, and kernels run at a fraction of their speed. In a virtual machine, pass the host’s CPU on ' +
        '(QEMU: -cpu host).',
    )
  if (threads < cores)
    advice.push(
      `${threads} of ${cores} cores can be used: affinity or a container's CPU quota allows no more.`,
    )
  if (platform === 'darwin-x64' && machine.cpu.startsWith('Apple'))
    advice.push('Node is for Intel and runs translated: install Node for arm64.')
  return advice
}

/** What is missing, and what to do about it; the most important first. */
export function advise(machine: Machine, devices: readonly DeviceInfo[]): string[] {
  const cpu = devices.find(({ type }) => type === 'cpu')
  const { packages } = machine
  return [
    ...(cpu && !cpu.available ? [`Nothing can run: ${cpu.reason}`] : []),
    ...gpuAdvice(
      machine,
      devices.filter(({ type }) => type === 'cuda'),
    ),
    ...(cpu?.available ? cpuAdvice(machine, cpu) : []),
    ...(packages['@huggingface/hub']
      ? []
      : ['To load models by their hub id: npm install @huggingface/hub.']),
    ...(packages.sharp ? [] : ['For models of images to read files: npm install sharp.']),
  ]
}
