import { existsSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitepress'

const sidebar = new URL('../api/typedoc-sidebar.json', import.meta.url)
const api = existsSync(sidebar) ? JSON.parse(readFileSync(sidebar, 'utf8')) : []

// Dead links fail the build.
export default defineConfig({
  title: 'moe-native',
  description: 'Mixture-of-Experts language models, run natively from TypeScript',
  srcExclude: ['node_modules'],
  themeConfig: {
    search: { provider: 'local' },
    sidebar: [
      {
        text: 'Guide',
        items: [
          { text: 'Getting started', link: '/getting-started' },
          { text: 'Chat', link: '/chat' },
          { text: 'Constraints', link: '/constraints' },
          { text: 'Server', link: '/server' },
          { text: 'Models and their fidelity', link: '/models' },
          { text: 'LoRA adapters', link: '/adapters' },
          { text: 'Systems of the survey', link: '/survey' },
          { text: 'Quantisation', link: '/quantization' },
          { text: 'How routing works', link: '/routing' },
          { text: 'Numerics', link: '/numerics' },
          { text: 'Performance', link: '/performance' },
          { text: 'Devices', link: '/devices' },
          { text: 'Checking a GPU', link: '/gpu-check' },
          { text: 'Predicted GPU times', link: '/predicted' },
          { text: 'Kernels', link: '/kernels' },
          { text: 'Command line', link: '/cli' },
          { text: 'Errors', link: '/errors' },
          { text: 'Reliability', link: '/reliability' },
          { text: 'Coming from other packages', link: '/migrating' },
          { text: 'Install problems', link: '/faq' },
        ],
      },
      { text: 'API', link: '/api/', items: api },
    ],
  },
})
