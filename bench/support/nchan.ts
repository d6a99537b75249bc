/** nginx with nchan as a peer: one worker, configuration and files in a directory of its own. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { freePort } from '../../test/support/free-port.ts'
import { startServer } from './processes.ts'
import type { Server } from './processes.ts'

const NGINX = '/usr/sbin/nginx'
const MODULE = '/usr/lib/nginx/modules/ngx_nchan_module.so'

export function hasNchan(): boolean {
  return existsSync(NGINX) && existsSync(MODULE)
}

export async function startNchan(directory: string): Promise<Server> {
  const port = await freePort()
  await mkdir(directory, { recursive: true })
  const file = join(directory, 'nginx.conf')
  await writeFile(file, configuration(directory, port))
  const url = `http://127.0.0.1:${port}`
  return startServer([NGINX, '-p', directory, '-c', file], { url })
}

/** Channels keep enough for the longest history, and nothing pings or ends a connection. */
function configuration(directory: string, port: number): string {
  return `
load_module ${MODULE};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
pid ${directory}/nginx.pid;
${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 16384; }
http {
  access_log off;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  keepalive_timeout 1h;
  keepalive_requests 100000000;
  nchan_shared_memory_size 512m;
  nchan_message_buffer_length 100000;
  nchan_message_timeout 1h;
  server {
    listen 127.0.0.1:${port};
    nchan_eventsource_ping_interval 0;
    location ~ ^/publish/(\\w+)$ {
      nchan_publisher;
      nchan_channel_id $1;
    }
    location ~ ^/live/(\\w+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
    location ~ ^/poll/(\\w+)$ {
      nchan_subscriber longpoll;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
    location ~ ^/all/(\\w+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message oldest;
    }
  }
}
`
}
