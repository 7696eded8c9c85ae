/* dedup-c: counts which events are the first of their key, and emits a derived event for each of those.
 *
 * Remembers the hashes of the keys in two sets, a young one and an old one. A hash that is in neither is new, and goes into the young
 * one; when that has `capacity` of them it becomes the old one, and the old one is forgotten. So the last `capacity` distinct
 * keys are remembered for certain, and up to twice as many in all. */
#include "keylane_plugin_easy.h"

/* A set of 64-bit hashes that are not 0, with open addressing: at most half full, so a search is short. */
typedef struct {
  uint64_t *slots;
  size_t mask;
  uint64_t count;
} set;

static int set_init(set *s, uint64_t capacity) {
  size_t slots = 16;
  while (slots < capacity * 2) slots *= 2;
  s->slots = (uint64_t *)calloc(slots, sizeof *s->slots);
  s->mask = slots - 1;
  s->count = 0;
  return s->slots != NULL;
}

/* Where the hash is, or where it would go. */
static uint64_t *set_slot(const set *s, uint64_t hash) {
  size_t at = (size_t)(hash ^ hash >> 32) & s->mask;
  while (s->slots[at] && s->slots[at] != hash) at = (at + 1) & s->mask;
  return &s->slots[at];
}

typedef struct {
  uint64_t capacity;
  int per_type;
  uint32_t emit;               /* KEYLANE_TYPE_UNKNOWN: emit nothing */
  set young, old;
  uint64_t *firsts, *duplicates, *unkeyed, *refused, *remembered;
} dedup;

static const char SCHEMA[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"dedup-c\",\"type\":\"object\","
    "\"additionalProperties\":false,\"properties\":{"
    "\"capacity\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":67108864,\"default\":1048576,"
    "\"description\":\"How many keys to remember, for certain; up to twice as many are. 32 to 64 bytes each.\"},"
    "\"emit\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":64,"
    "\"description\":\"The type of the event to emit for the first of a key, USER(1) say. Without it, events are only counted.\"},"
    "\"per_type\":{\"type\":\"boolean\",\"default\":false,"
    "\"description\":\"Whether events of different types with the same key are different.\"}}}";

static keylane_status read_config(keylane_bytes config, dedup *d, keylane_bytes *emit, keylane_error *error) {
  keylane_option options[] = {
      {"capacity", KEYLANE_OPTION_U64, NULL, 1, 67108864},
      {"emit", KEYLANE_OPTION_TEXT, NULL, 1, 64},
      {"per_type", KEYLANE_OPTION_BOOL, NULL, 0, 0},
  };
  d->capacity = 1048576;
  d->per_type = 0;
  *emit = keylane_absent();
  options[0].value = &d->capacity;
  options[1].value = emit;
  options[2].value = &d->per_type;
  return keylane_config_read(config, options, sizeof options / sizeof *options, error);
}

static keylane_status check_config(keylane_bytes config, keylane_error *error) {
  dedup scratch;
  keylane_bytes emit;
  return read_config(config, &scratch, &emit, error);
}

static keylane_status create(keylane_easy *self, keylane_bytes config) {
  dedup *d = (dedup *)self->state;
  keylane_bytes emit;
  keylane_status status = read_config(config, d, &emit, self->error);
  if (status != KEYLANE_OK) return status;
  d->emit = KEYLANE_TYPE_UNKNOWN;
  if (emit.ptr) {
    d->emit = self->host->type_id(self->host, emit);
    if (d->emit == KEYLANE_TYPE_UNKNOWN)
      return keylane_easy_fail(self, KEYLANE_E_CONFIG, "config: emit: there is no type \"%.*s\"; use USER(n)", (int)emit.len,
                               (const char *)emit.ptr);
  }
  if (!set_init(&d->young, d->capacity) || !set_init(&d->old, d->capacity))
    return keylane_easy_fail(self, KEYLANE_E_NOMEM, "no memory for %llu keys", (unsigned long long)d->capacity);
  d->firsts = keylane_easy_cell(self, KEYLANE_CELL_COUNTER, "firsts");
  d->duplicates = keylane_easy_cell(self, KEYLANE_CELL_COUNTER, "duplicates");
  d->unkeyed = keylane_easy_cell(self, KEYLANE_CELL_COUNTER, "unkeyed_events");
  d->refused = keylane_easy_cell(self, KEYLANE_CELL_COUNTER, "events_not_emitted");
  d->remembered = keylane_easy_cell(self, KEYLANE_CELL_GAUGE, "remembered_keys");
  return KEYLANE_OK;
}

static void remember(dedup *d, uint64_t hash) {
  if (d->young.count == d->capacity) {
    set forgotten = d->old;
    d->old = d->young;
    d->young = forgotten;
    memset(d->young.slots, 0, (d->young.mask + 1) * sizeof *d->young.slots);
    d->young.count = 0;
  }
  *set_slot(&d->young, hash) = hash;
  d->young.count++;
  keylane_cell_set(d->remembered, (int64_t)(d->young.count + d->old.count));
}

/* Emits the event once more as the type that was asked for, with the same key and the same value. */
static keylane_status emit_first(keylane_easy *self, const keylane_event *event) {
  const dedup *d = (const dedup *)self->state;
  keylane_emit first;
  memset(&first, 0, sizeof first);
  first.type_id = d->emit;
  first.key_kind = KEYLANE_KEY_HASH;
  first.key_hash = event->key_hash;
  first.value_kind = event->value_kind;
  switch (event->value_kind) {
    case KEYLANE_V_NONE: break;
    case KEYLANE_V_BOOL:
    case KEYLANE_V_I64:
    case KEYLANE_V_U64:
    case KEYLANE_V_F64: first.scalar.u64 = event->value.u64; break;
    case KEYLANE_V_UTF8:
    case KEYLANE_V_BYTES:
    case KEYLANE_V_JSON:
      first.value.ptr = (const uint8_t *)event->value.ptr;
      first.value.len = event->value_len;
      break;
    default: {
      /* A meta, a value of the program's own type, or something that came later than this plugin. */
      keylane_status status = self->host->render(self->host, event, KEYLANE_RENDER_JSON, &first.value);
      if (status != KEYLANE_OK) return status;
      first.value_kind = KEYLANE_V_JSON;
    }
  }
  return keylane_easy_emit(self, first);
}

static keylane_status on_event(keylane_easy *self, const keylane_event *event) {
  dedup *d = (dedup *)self->state;
  uint64_t hash = event->key_hash;
  if (event->type_id == d->emit) return KEYLANE_OK; /* one of our own */
  if (!(event->flags & KEYLANE_EV_KEYED)) {
    keylane_cell_add(d->unkeyed, 1);
    return KEYLANE_OK;
  }
  if (d->per_type) hash ^= (uint64_t)(event->type_id + 1) * UINT64_C(0x9e3779b97f4a7c15);
  if (!hash) hash = 1; /* 0 is an empty slot */
  if (*set_slot(&d->young, hash) || *set_slot(&d->old, hash)) {
    keylane_cell_add(d->duplicates, 1);
    return KEYLANE_OK;
  }
  if (d->emit != KEYLANE_TYPE_UNKNOWN) {
    keylane_status status = emit_first(self, event);
    /* Not remembered yet: the event will be offered again, and is the first one then too. */
    if (status == KEYLANE_E_WOULD_BLOCK)
      return keylane_easy_fail(self, KEYLANE_AGAIN, "the host has no room for derived events right now");
    if (status != KEYLANE_OK) {
      keylane_cell_add(d->refused, 1);
      keylane_easy_log(self, KEYLANE_LOG_WARN, "the first event of key %016llx was not emitted: status %d",
                       (unsigned long long)event->key_hash, (int)status);
    }
  }
  remember(d, hash);
  keylane_cell_add(d->firsts, 1);
  return KEYLANE_OK;
}

/* The state: the number of hashes in the old set, then those of the old and of the young set, little end first. */
static void put(uint8_t *to, uint64_t number) {
  int i;
  for (i = 0; i < 8; i++) to[i] = (uint8_t)(number >> 8 * i);
}

static uint64_t get(const uint8_t *from) {
  uint64_t number = 0;
  int i;
  for (i = 7; i >= 0; i--) number = number << 8 | from[i];
  return number;
}

static keylane_status save_set(const set *s, const keylane_writer *out) {
  uint8_t chunk[512 * 8];
  size_t used = 0, i;
  for (i = 0; i <= s->mask; i++) {
    if (s->slots[i]) {
      put(chunk + used, s->slots[i]);
      used += 8;
    }
    if (used == sizeof chunk || (i == s->mask && used)) {
      keylane_status status = out->write(out->ctx, chunk, used);
      if (status != KEYLANE_OK) return status;
      used = 0;
    }
  }
  return KEYLANE_OK;
}

static keylane_status save_state(keylane_easy *self, const keylane_writer *out) {
  const dedup *d = (const dedup *)self->state;
  uint8_t head[8];
  keylane_status status;
  put(head, d->old.count);
  status = out->write(out->ctx, head, sizeof head);
  if (status == KEYLANE_OK) status = save_set(&d->old, out);
  if (status == KEYLANE_OK) status = save_set(&d->young, out);
  return status == KEYLANE_OK ? status : keylane_easy_fail(self, status, "the host takes no more of the state");
}

static keylane_status load_state(keylane_easy *self, keylane_bytes state, uint32_t version) {
  dedup *d = (dedup *)self->state;
  uint64_t old, all, i;
  if (version != 1)
    return keylane_easy_fail(self, KEYLANE_E_STATE, "the state has version %u, this plugin reads 1", (unsigned)version);
  if (state.len < 8 || state.len % 8)
    return keylane_easy_fail(self, KEYLANE_E_STATE, "the state has %lu bytes, which is no whole number of hashes",
                             (unsigned long)state.len);
  old = get(state.ptr);
  all = state.len / 8 - 1;
  if (old > all)
    return keylane_easy_fail(self, KEYLANE_E_STATE, "the state says that it has %llu old hashes, but it has %llu in all",
                             (unsigned long long)old, (unsigned long long)all);
  for (i = 0; i < all; i++) {
    uint64_t hash = get(state.ptr + 8 + 8 * i);
    if (!hash) return keylane_easy_fail(self, KEYLANE_E_STATE, "hash %llu of the state is 0", (unsigned long long)i);
    /* By the same rule as when they came: with a smaller capacity than before, the oldest are forgotten. */
    if (!*set_slot(&d->young, hash) && !*set_slot(&d->old, hash)) remember(d, hash);
  }
  return KEYLANE_OK;
}

static void destroy(keylane_easy *self) {
  dedup *d = (dedup *)self->state;
  free(d->young.slots);
  free(d->old.slots);
}

KEYLANE_EASY_PLUGIN("io.keylane.dedup-c", "0.1.0", KEYLANE_F_STATEFUL | KEYLANE_F_EMITS,
  .state_version = 1, .name = "Dedup", .license = "MIT OR Apache-2.0",
  .description = "Counts which events are the first of their key, and emits a derived event for each of those",
  .config_schema_json = SCHEMA, .state_size = sizeof(dedup), .check_config = check_config, .create = create,
  .on_event = on_event, .save_state = save_state, .load_state = load_state, .destroy = destroy)
