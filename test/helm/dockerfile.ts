/** What a Dockerfile and its .dockerignore say, as far as ours go. */

export type Instruction = {
  /** In capitals. */
  readonly name: string
  /** `--from=build` as `{from: 'build'}`. */
  readonly flags: Readonly<Record<string, string>>
  /** What follows: a JSON array, or words. */
  readonly words: readonly string[]
  /** What follows, as it stands there. */
  readonly text: string
}

export type Stage = { readonly image: string; readonly instructions: readonly Instruction[] }

/** The stages, with the values of arguments before the first one put in where they are named. */
export function parseDockerfile(content: string): readonly Stage[] {
  const lines = content
    .split('\n')
    .filter((line) => !line.trim().startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
  const stages: { image: string; instructions: Instruction[] }[] = []
  const globals = new Map<string, string>()
  for (const line of lines.filter((one) => one.trim() !== '')) {
    const instruction = parseInstruction(line)
    const [first = ''] = instruction.words
    const stage = stages.at(-1)
    if (instruction.name === 'FROM') {
      const image = first.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => globals.get(name) ?? '')
      stages.push({ image, instructions: [] })
    } else if (stage === undefined) {
      const [name = '', value = ''] = first.split('=')
      globals.set(name, value)
    } else {
      stage.instructions.push(instruction)
    }
  }
  return stages
}

function parseInstruction(line: string): Instruction {
  const [, name = '', flagged = '', text = ''] =
    /^\s*(\w+)((?:\s+--[a-z-]+=\S+)*)\s+(.*?)\s*$/.exec(line) ?? []
  const pairs = flagged.split(/\s+/).flatMap((flag) => {
    const [, key = '', value = ''] = /^--([a-z-]+)=(.*)$/.exec(flag) ?? []
    return key === '' ? [] : [[key, value] as const]
  })
  const words = text.startsWith('[') ? (JSON.parse(text) as string[]) : text.split(/\s+/)
  return { name, flags: Object.fromEntries(pairs), words, text }
}

/** All of one name. */
export function allOf(stage: Stage, name: string): readonly Instruction[] {
  return stage.instructions.filter((instruction) => instruction.name === name)
}

/** The last of one name: it is the one that counts. */
export function lastOf(stage: Stage, name: string): Instruction {
  const instruction = allOf(stage, name).at(-1)
  if (instruction === undefined) throw new Error(`the stage has no ${name}`)
  return instruction
}

/** Variables of ENV instructions. */
export function environmentOfStage(stage: Stage): Record<string, string> {
  const pairs = allOf(stage, 'ENV').flatMap(({ words }) => words.map((word) => word.split('=')))
  return Object.fromEntries(pairs) as Record<string, string>
}

/**
 * Whether a path is kept out of the context. Of patterns that match the path or a folder above it
 * the last one counts.
 */
export function ignoresOf(dockerignore: string): (path: string) => boolean {
  const rules = dockerignore
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => ({ isIgnored: !line.startsWith('!'), matches: globOf(line.replace('!', '')) }))
  return (path) => {
    const parts = path.split('/')
    const folders = parts.map((_, index) => parts.slice(0, index + 1).join('/'))
    const rule = rules.findLast(({ matches }) => folders.some((folder) => matches.test(folder)))
    return rule?.isIgnored ?? false
  }
}

function globOf(pattern: string): RegExp {
  const source = pattern
    .replaceAll(/[.+^$(){}|[\]\\]/g, '\\$&')
    .replaceAll(/\*\*\/|\*/g, (stars) => (stars === '*' ? '[^/]*' : '(?:.*/)?'))
  return new RegExp(`^${source}$`)
}
