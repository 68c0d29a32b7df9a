export * from './generated.ts'
