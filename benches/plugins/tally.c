/* Counts events by type and sums up their values: the work of the benchmark `plugin`, as tally-rs/src/lib.rs does it in Rust.
 *
 * Written against the bare header, as a plugin is that counts nanoseconds; the benchmark compiles it when it runs. What it has counted
 * goes to the host at a flush, so that the benchmark can compare it with what was sent. */
#include "keylane_plugin.h"

#include <stdlib.h>
#include <string.h>

enum { KINDS = 8 };

typedef struct {
  keylane_processor processor; /* first: the host's pointer leads to it */
  uint64_t numbers[KINDS + 1]; /* the counts, and behind them the sum */
  uint64_t *shown[KINDS + 1];  /* where the host reads them */
} tally;

static keylane_status process(keylane_processor *self, const keylane_batch *batch, keylane_batch_result *result) {
  tally *t = (tally *)self;
  uint32_t i;
  (void)result; /* OK means that all events are done */
  for (i = 0; i < batch->count; i++) {
    const keylane_event *event = keylane_event_at(batch, i);
    t->numbers[event->type_id % KINDS]++;
    if (event->value_kind == KEYLANE_V_U64) t->numbers[KINDS] += event->value.u64;
  }
  return KEYLANE_OK;
}

static keylane_status flush(keylane_processor *self, uint32_t reason, keylane_error *error) {
  tally *t = (tally *)self;
  int i;
  (void)reason;
  (void)error;
  for (i = 0; i <= KINDS; i++) {
    keylane_cell_add(t->shown[i], t->numbers[i]);
    t->numbers[i] = 0;
  }
  return KEYLANE_OK;
}

static void destroy(keylane_processor *self) { free(self); }

static keylane_status create(const char *id, const keylane_host *host, const keylane_create_args *args,
                             keylane_processor **out, keylane_error *error) {
  static const char *const names[KINDS + 1] = {"count0", "count1", "count2", "count3", "count4",
                                               "count5", "count6", "count7", "sum"};
  const keylane_bytes none = {NULL, 0};
  tally *t = (tally *)calloc(1, sizeof *t);
  int i;
  (void)id;
  (void)args;
  (void)error;
  if (!t) return KEYLANE_E_NOMEM;
  for (i = 0; i <= KINDS; i++) {
    const keylane_bytes name = {(const uint8_t *)names[i], strlen(names[i])};
    t->shown[i] = host->cell(host, KEYLANE_CELL_COUNTER, name, none);
  }
  t->processor.struct_size = (uint32_t)sizeof t->processor;
  t->processor.process = process;
  t->processor.flush = flush;
  t->processor.destroy = destroy;
  *out = &t->processor;
  return KEYLANE_OK;
}

static uint32_t count(void) { return 1; }

static const keylane_descriptor *descriptor(uint32_t i) {
  static const keylane_descriptor only = {
      (uint32_t)sizeof(keylane_descriptor), 0, 0, 0, "io.keylane.bench.tally-c", "0.1.0", NULL, NULL, NULL, NULL, NULL, NULL, NULL};
  return i == 0 ? &only : NULL;
}

static const void *get_factory(const char *id) {
  static const keylane_factory factory = {(uint32_t)sizeof(keylane_factory), 0, count, descriptor, NULL, create};
  return strcmp(id, KEYLANE_FACTORY_ID) == 0 ? &factory : NULL;
}

KEYLANE_EXPORT const keylane_entry keylane_plugin_entry_v1 = {
    KEYLANE_MAGIC, (uint32_t)sizeof(keylane_entry), KEYLANE_ABI_VERSION, KEYLANE_LAYOUT, NULL, NULL, get_factory};
