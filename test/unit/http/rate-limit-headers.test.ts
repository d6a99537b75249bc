import { expect, test } from 'vitest'
import { renderStanding } from '../../../src/http/rate-limit-headers.ts'

test('lists each limit as a structured field, with its unit unless it is requests', () => {
  expect(
    renderStanding([
      { policy: 'subject-requests', quota: 100, counts: 'requests', left: 99, waitMs: 0 },
      { policy: 'subject-creates', quota: 1, counts: 'creates', left: 0, waitMs: 1000 },
      { policy: 'project-bytes', quota: 1000, counts: 'bytes', left: 0, waitMs: 2001 },
      { policy: 'address-connections', quota: 5, counts: 'connections', left: 0 },
    ]),
  ).toEqual({
    'RateLimit-Policy':
      '"subject-requests";q=100;w=1, "subject-creates";q=1;w=1, ' +
      '"project-bytes";q=1000;qu="content-bytes";w=1, ' +
      '"address-connections";q=5;qu="concurrent-requests"',
    RateLimit:
      '"subject-requests";r=99;t=1, "subject-creates";r=0;t=1, "project-bytes";r=0;t=3, ' +
      '"address-connections";r=0',
  })
})
