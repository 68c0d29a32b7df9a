import { existsSync, readFileSync } from 'node:fs'
import { defineConfig } from 'vitepress'

const sidebar = new URL('../api/typedoc-sidebar.json', import.meta.url)
const api = existsSync(sidebar) ? JSON.parse(readFileSync(sidebar, 'utf8')) : []

const icon =
  "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8' fill='%23335cc9'><path d='M0 0h2v2H0zM3 3h2v2H3zM6 0h2v2H6zM0 6h2v2H0z'/></svg>"

const guide = [
  {
    text: 'Start',
    items: [
      { text: 'Getting started', link: '/getting-started' },
      { text: 'Chat and templates', link: '/chat' },
      { text: 'Models', link: '/models' },
      { text: 'Choosing a format', link: '/quantization' },
      { text: 'Coming from other packages', link: '/migrating' },
      { text: 'Questions and mistakes', link: '/faq' },
    ],
  },
  {
    text: 'Use',
    items: [
      { text: 'Command line', link: '/cli' },
      { text: 'Serving', link: '/server' },
      { text: 'Constraints', link: '/constraints' },
      { text: 'LoRA adapters', link: '/adapters' },
      { text: 'GPUs and other devices', link: '/devices' },
      { text: 'Errors', link: '/errors' },
    ],
  },
  {
    text: 'Mixtures of experts',
    items: [
      { text: 'Routing', link: '/routing' },
      { text: 'Kernels', link: '/kernels' },
      { text: 'Other systems and models', link: '/survey' },
    ],
  },
  {
    text: 'What is measured and held',
    items: [
      { text: 'Performance', link: '/performance' },
      { text: 'Numerics', link: '/numerics' },
      { text: 'Reliability', link: '/reliability' },
      { text: 'Checking a GPU', link: '/gpu-check' },
      { text: 'Predicted GPU times', link: '/predicted' },
    ],
  },
]

// Dead links fail the build.
export default defineConfig({
  title: 'moe-native',
  description: 'Mixture-of-Experts language models, run natively from TypeScript',
  head: [['link', { rel: 'icon', href: icon }]],
  srcExclude: ['node_modules'],
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Guide', link: '/getting-started' },
      { text: 'Routing', link: '/routing' },
      { text: 'Performance', link: '/performance' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: {
      '/': [...guide, { text: 'API reference', link: '/api/' }],
      '/api/': [
        { text: 'API reference', link: '/api/' },
        ...api,
        { text: 'Guide', link: '/getting-started' },
      ],
    },
  },
})
