// Helper threads for loops over tiles.
#pragma once
#include <stdint.h>

namespace bhvit {

struct Pool;

using Body = void (*)(void *context, int i, int thread);

// body(context, i, thread) for i in [0, n), thread below the pool's size, 0 the caller's. Whoever is free takes the next i, and
// nobody waits for a helper that has not begun: on a busy machine the caller does what its helpers do not.
void pool_run(Pool *pool, int n, Body body, void *context);

// A pool of `threads` threads, the caller's included, for this call alone; to be given back. NULL for one thread.
Pool *acquire_pool(int threads);
void release_pool(Pool *pool);

} // namespace bhvit
