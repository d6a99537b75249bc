/** A real nginx with a recipe in its http context. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CleanUps } from './clean-ups.ts'
import { run } from './gateway-process.ts'
import type { Running } from './gateway-process.ts'
import { programPath } from './programs.ts'

export type NginxOptions = {
  /** Of the test's own; the recipe may name paths in it. */
  readonly directory: string
  /** What stands in the http context, beside paths for temporary files. */
  readonly recipe: string
  readonly connections?: number
  readonly cleanUps: CleanUps
}

/** Starts one and returns at once. */
export async function runNginx(options: NginxOptions): Promise<Running> {
  const { directory, cleanUps } = options
  const file = join(directory, 'nginx.conf')
  await writeFile(file, surroundings(options))
  const args = ['-c', file, '-p', directory, '-e', 'stderr']
  return run({ file: programPath('nginx'), args, env: {}, group: true, cleanUps })
}

/** What the system's own configuration has around files in `conf.d`. */
function surroundings({ directory, recipe, connections = 1024 }: NginxOptions): string {
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const paths = folders.map((name) => `${name}_temp_path ${join(directory, name)};`).join('\n')
  // Workers of root's nginx would be someone who may not enter the directory.
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  return `
daemon off;
${user}
pid ${join(directory, 'pid')};
worker_processes 1;
events { worker_connections ${connections}; }
http {
  access_log off;
  ${paths}
  ${recipe}
}
`
}
