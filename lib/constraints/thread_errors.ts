/** The grammar or its text is at fault, not the thread. */
export class TaskError extends Error {}

/** The thread ended before it answered. */
export class ThreadEnded extends Error {}
