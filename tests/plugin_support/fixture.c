/* The plugin of the tests. Each -D changes one thing; without any it is a plugin as it should be.
 *
 * Its processor adds up the numbers that it gets (U64), per key in order, and does what texts (UTF8) tell it to:
 *   refuse | panic | fatal | unknown | over | stall | emit | cycle | log | wrong_thread | abort | segv
 * The counters `events`, `sum`, `disorder`, `redelivered` and so on say what it has seen. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keylane_plugin.h"

#ifndef ID
#define ID "org.example.fixture"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef FLAGS
#define FLAGS KEYLANE_F_STATEFUL
#endif
#ifndef STATE_VERSION
#define STATE_VERSION 1
#endif
#ifndef COUNT
#define COUNT 1
#endif

#ifndef NO_MANIFEST
#ifndef MANIFEST_ID
#define MANIFEST_ID ID
#endif
KEYLANE_PLUGIN_MANIFEST(MANIFEST_ID, VERSION, FLAGS, COUNT);
#endif

#define KEYS 64

typedef struct state {
  uint64_t events, sum;
  uint64_t last[KEYS]; /* the number seen last of each key, plus one */
  uint64_t next_seq, any;
} state;

typedef struct instance {
  keylane_processor head;
  const keylane_host *host;
  state state;
  uint64_t *events, *sum, *disorder, *redelivered, *flushes, *requested, *loaded, *shutdowns, *gap, *version;
  int stalled;
  char canary[16];
} instance;

static keylane_bytes text(const char *s) {
  keylane_bytes bytes = {(const uint8_t *)s, strlen(s)};
  return bytes;
}

static void say(keylane_error *error, const char *message) {
  if (error) strncpy(error->message, message, sizeof error->message - 1);
}

static int is(const keylane_event *event, const char *word) {
  return event->value_kind == KEYLANE_V_UTF8 && event->value_len == strlen(word) &&
         memcmp(event->value.ptr, word, event->value_len) == 0;
}

static void emit(instance *self, uint32_t parent, const char *word) {
  keylane_emit out = {0};
  size_t accepted = 7;
  out.type_id = KEYLANE_USER_BASE + 9;
  out.value_kind = KEYLANE_V_UTF8;
  out.key_kind = KEYLANE_KEY_BYTES;
  out.parent = parent;
  out.key = text("derived");
  out.value = text(word);
  keylane_status status = self->host->emit(self->host, &out, 1, sizeof out, &accepted);
  const char *name = status == KEYLANE_OK ? "emitted" : status == KEYLANE_E_HOPS ? "too_many_hops" : "emit_failed";
  keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text(name), text("")), 1);
}

static void *from_a_thread(void *arg) {
  emit(arg, KEYLANE_NO_PARENT, "from a thread of my own");
  return 0;
}

static void write_log(instance *self) {
  keylane_log_record record = {0};
  keylane_kv kv = {text("answer"), text("42\n43")};
  record.struct_size = sizeof record;
  record.level = KEYLANE_LOG_WARN;
  record.target = text("fixture");
  record.message = text("a line of the plugin");
  record.file = text("fixture.c");
  record.line = 77;
  record.kv_count = 1;
  record.kv = &kv;
  self->host->log(self->host, &record);
}

static keylane_status process(keylane_processor *p, const keylane_batch *batch, keylane_batch_result *result) {
  instance *self = (instance *)p;
  if (self->version) keylane_cell_set(self->version, VERSION[0] - '0');
  for (uint32_t i = 0; i < batch->count; i++) {
    const keylane_event *event = keylane_event_at(batch, i);
    result->processed = i;
    if (self->state.any && event->seq != self->state.next_seq) keylane_cell_add(self->gap, 1);
    self->state.any = 1;
    self->state.next_seq = event->seq + 1;
    if (event->flags & KEYLANE_EV_REDELIVERED) keylane_cell_add(self->redelivered, 1);
    if (event->value_kind == KEYLANE_V_U64) {
      uint64_t *last = &self->state.last[event->key_hash % KEYS];
      if (event->value.u64 + 1 <= *last) keylane_cell_add(self->disorder, 1);
      *last = event->value.u64 + 1;
      self->state.sum += event->value.u64;
      keylane_cell_set(self->sum, (int64_t)self->state.sum);
    } else if (is(event, "refuse")) {
      say(result->error, "not this one");
      return KEYLANE_E_EVENT;
    } else if (is(event, "panic")) {
      say(result->error, "out of beer");
      return KEYLANE_E_PANIC;
    } else if (is(event, "fatal") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      say(result->error, "lost the file");
      return KEYLANE_E_FATAL;
    } else if (is(event, "always fatal")) {
      say(result->error, "lost the file for good");
      return KEYLANE_E_FATAL;
    } else if (is(event, "unknown") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      return 77;
    } else if (is(event, "negative") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      return -77;
    } else if (is(event, "over") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      result->processed = batch->count + 1;
      return KEYLANE_AGAIN;
    } else if (is(event, "behind") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      result->processed = batch->count;
      return KEYLANE_E_EVENT;
    } else if (is(event, "stall") && self->stalled++ < 3) {
      result->retry_after_ns = 1000000;
      self->state.next_seq = event->seq;
      return KEYLANE_AGAIN;
    } else if (is(event, "stall for ever") && !(event->flags & KEYLANE_EV_REDELIVERED)) {
      say(result->error, "the disk is full");
      return KEYLANE_AGAIN;
    } else if (is(event, "emit")) {
      emit(self, i, "derived");
    } else if (is(event, "cycle")) {
      emit(self, KEYLANE_NO_PARENT, "cycle");
    } else if (is(event, "log")) {
      write_log(self);
    } else if (is(event, "flood the log")) {
      for (int n = 0; n < 5000; n++) write_log(self);
    } else if (is(event, "wrong thread")) {
      pthread_t thread;
      pthread_create(&thread, 0, from_a_thread, self);
      pthread_join(thread, 0);
    } else if (is(event, "flush me")) {
      self->host->request_flush(self->host, 5 * 1000 * 1000);
    } else if (is(event, "abort")) {
      abort();
    } else if (is(event, "segv")) {
      *(volatile int *)8 = 1;
    } else if (event->value_kind == KEYLANE_V_OPAQUE) {
      keylane_bytes json = {0, 0};
      if (self->host->render(self->host, event, KEYLANE_RENDER_JSON, &json) == KEYLANE_OK)
        keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text("rendered"), text("")), json.len);
      keylane_event other = *event;
      if (self->host->render(self->host, &other, KEYLANE_RENDER_JSON, &json) == KEYLANE_E_INVALID)
        keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text("foreign_refused"), text("")), 1);
    } else if (event->value_kind == KEYLANE_V_META) {
      const keylane_meta *meta = event->value.ptr;
      if (meta->meta_id == KEYLANE_START_REQUEST) {
        const keylane_meta_request *request = event->value.ptr;
        if (request->request_id.len == 5 && !memcmp(request->request_id.ptr, "reqid", 5) && request->method.len == 3 &&
            request->uri.scheme.len == 5 && request->uri.authority.len == 11 && !request->user.ptr &&
            request->addr.family == 4 && request->addr.port == 6000 && request->request_type == KEYLANE_REQUEST_TLS)
          keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text("request_ok"), text("")), 1);
      } else if (meta->meta_id == KEYLANE_COMMON_ERROR) {
        const keylane_meta_common_error *error = event->value.ptr;
        if (error->err.len == 9 && !memcmp(error->err.ptr, "a: reason", 9) && !error->method.ptr && !error->addr.family)
          keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text("error_ok"), text("")), 1);
      }
    }
    self->state.events++;
    keylane_cell_add(self->events, 1);
    uint32_t histogram = self->host->histogram(self->host, text("lengths"), text(""));
    if (event->value_kind == KEYLANE_V_UTF8) self->host->observe(self->host, histogram, event->value_len);
  }
  result->processed = batch->count;
  return KEYLANE_OK;
}

static keylane_status flush(keylane_processor *p, uint32_t reason, keylane_error *error) {
  instance *self = (instance *)p;
  keylane_cell_add(self->flushes, 1);
  if (reason == KEYLANE_FLUSH_REQUESTED) keylane_cell_add(self->requested, 1);
  static const char *const names[] = {"flush_idle", "flush_requested", "flush_swap", "flush_shutdown"};
  keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text(names[reason]), text("")), 1);
#ifdef FLUSH_FAILS
  say(error, "cannot flush");
  return KEYLANE_E_FATAL;
#endif
  return KEYLANE_OK;
}

static keylane_status save_state(keylane_processor *p, const keylane_writer *writer, keylane_error *error) {
  instance *self = (instance *)p;
#ifdef SAVE_FAILS
  say(error, "cannot save");
  return KEYLANE_E_STATE;
#endif
#ifdef SAVE_BYTES
  static uint8_t many[SAVE_BYTES];
  return writer->write(writer->ctx, many, sizeof many);
#endif
  return writer->write(writer->ctx, (const uint8_t *)&self->state, sizeof self->state);
}

static keylane_status load_state(keylane_processor *p, keylane_bytes state, uint32_t version, keylane_error *error) {
  instance *self = (instance *)p;
#ifdef LOAD_REFUSES
  if (LOAD_REFUSES) {
    say(error, "an older form");
    return KEYLANE_E_STATE;
  }
#endif
  if (version > STATE_VERSION || state.len != sizeof self->state) return KEYLANE_E_STATE;
  memcpy(&self->state, state.ptr, state.len);
  keylane_cell_add(self->loaded, 1);
  return KEYLANE_OK;
}

static void shutdown(keylane_processor *p, uint32_t reason) {
  instance *self = (instance *)p;
  static const char *const names[] = {"shutdown_bus", "shutdown_swap", "shutdown_removed", "shutdown_fault"};
  keylane_cell_add(self->host->cell(self->host, KEYLANE_CELL_COUNTER, text(names[reason]), text("")), 1);
}

static void destroy(keylane_processor *p) {
  instance *self = (instance *)p;
  if (strcmp(self->canary, "fixture")) abort(); /* destroyed twice */
  strcpy(self->canary, "gone");
#ifdef CREATE_SAME
  return;
#endif
  free(self);
}

static keylane_status check_config(const char *id, keylane_bytes config, keylane_error *error) {
  if (config.len == 12 && !memcmp(config.ptr, "{\"bad\":true}", 12)) {
    say(error, "bad must not be true");
    return KEYLANE_E_CONFIG;
  }
  return KEYLANE_OK;
}

static keylane_status create(const char *id, const keylane_host *host, const keylane_create_args *args,
                             keylane_processor **out, keylane_error *error) {
  if (strcmp(id, ID)) return KEYLANE_E_INVALID;
#ifdef CREATE_FAILS
  say(error, "no licence");
  return CREATE_FAILS;
#endif
#ifdef CREATE_HANGS
  for (;;) pause();
#endif
#ifdef CREATE_NULL
  *out = 0;
  return KEYLANE_OK;
#endif
#ifdef CREATE_FAILS_ON_SHARD
  if (args->shard == CREATE_FAILS_ON_SHARD) return KEYLANE_E_NOMEM;
#endif
#ifdef CREATE_SAME
  static instance only;
  instance *self = &only;
#else
  instance *self = calloc(1, sizeof *self);
#endif
  self->head.struct_size = sizeof self->head;
  self->head.process = process;
  self->head.flush = flush;
  self->head.save_state = save_state;
  self->head.load_state = load_state;
  self->head.shutdown = shutdown;
  self->head.destroy = destroy;
#ifdef PROCESSOR_SIZE
  self->head.struct_size = PROCESSOR_SIZE;
#endif
#ifdef NULL_PROCESS
  self->head.process = 0;
#endif
#ifdef NULL_DESTROY
  self->head.destroy = 0;
#endif
#ifdef NULL_SAVE
  self->head.save_state = 0;
#endif
#ifdef NULL_LOAD
  self->head.load_state = 0;
#endif
#ifdef NULL_OPTIONAL
  self->head.flush = 0;
  self->head.shutdown = 0;
  self->head.get_extension = 0;
#endif
  strcpy(self->canary, "fixture");
  self->host = host;
#define CELL(name) self->name = host->cell(host, KEYLANE_CELL_COUNTER, text(#name), text(""))
  CELL(events), CELL(disorder), CELL(redelivered), CELL(flushes), CELL(requested), CELL(loaded), CELL(gap);
  self->sum = host->cell(host, KEYLANE_CELL_GAUGE, text("sum"), text(""));
  self->version = host->cell(host, KEYLANE_CELL_GAUGE, text("version"), text(""));
  *out = &self->head;
  return KEYLANE_OK;
}

/* A descriptor and an entry of a later minor version: with members that this host does not know. */
typedef struct newer_descriptor {
  keylane_descriptor known;
  uint8_t tail[64];
} newer_descriptor;

static const char *const event_types[] = {"USER(0)", "START_REQUEST", 0};

static const newer_descriptor newer = {
    .known =
        {
            .struct_size =
#ifdef DESCRIPTOR_SIZE
                DESCRIPTOR_SIZE,
#elif defined(NEWER)
                sizeof(newer_descriptor),
#else
                sizeof(keylane_descriptor),
#endif
            .flags = FLAGS,
            .state_version = STATE_VERSION,
#ifdef DESCRIPTOR_ID
            .id = DESCRIPTOR_ID,
#else
            .id = ID,
#endif
#ifdef DESCRIPTOR_VERSION
            .version = DESCRIPTOR_VERSION,
#else
            .version = VERSION,
#endif
            .name = "Fixture",
#ifdef EVENT_TYPES
            .event_types = event_types,
#endif
        },
    .tail = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
};

static uint32_t count(void) { return COUNT; }

static const keylane_descriptor *descriptor(uint32_t index) {
#ifdef DESCRIPTOR_NULL
  return 0;
#endif
  return index < COUNT ? &newer.known : 0;
}

typedef struct newer_factory {
  keylane_factory known;
  void *tail[8];
} newer_factory;

static const newer_factory factory = {
    .known =
        {
#ifdef FACTORY_SIZE
            .struct_size = FACTORY_SIZE,
#elif defined(NEWER)
            .struct_size = sizeof(newer_factory),
#else
            .struct_size = sizeof(keylane_factory),
#endif
#ifndef NULL_COUNT
            .count = count,
#endif
#ifndef NULL_DESCRIPTOR
            .descriptor = descriptor,
#endif
#ifndef NULL_CHECK_CONFIG
            .check_config = check_config,
#endif
#ifndef NULL_CREATE
            .create = create,
#endif
        },
    .tail = {(void *)~0ul, (void *)~0ul},
};

static const void *get_factory(const char *id) {
#ifdef FACTORY_NULL
  return 0;
#endif
  return strcmp(id, KEYLANE_FACTORY_ID) ? 0 : &factory;
}

static keylane_status init(const char *path, uint32_t version, keylane_error *error) {
#ifdef INIT_FAILS
  say(error, "no such database");
  return INIT_FAILS;
#endif
#ifdef INIT_HANGS
  for (;;) pause();
#endif
  return path && *path == '/' && version >> 16 == 1 ? KEYLANE_OK : KEYLANE_E_ABI;
}

#ifdef UNRESOLVED
extern int nobody_defines_this(void);
int call_it(void) { return nobody_defines_this(); }
#endif

typedef struct newer_entry {
  keylane_entry known;
  void *tail[8];
} newer_entry;

#ifndef ENTRY_NAME
#define ENTRY_NAME keylane_plugin_entry_v1
#endif
#ifndef MAGIC
#define MAGIC KEYLANE_MAGIC
#endif
#ifndef ENTRY_SIZE
#ifdef NEWER
#define ENTRY_SIZE sizeof(newer_entry)
#else
#define ENTRY_SIZE sizeof(keylane_entry)
#endif
#endif
#ifndef ABI_VERSION
#ifdef NEWER
#define ABI_VERSION (KEYLANE_ABI_VERSION + 3)
#else
#define ABI_VERSION KEYLANE_ABI_VERSION
#endif
#endif
#ifndef LAYOUT
#define LAYOUT KEYLANE_LAYOUT
#endif

#ifndef NO_ENTRY
#define QUOTE_(x) #x
#define QUOTE(x) QUOTE_(x)
KEYLANE_EXPORT extern const newer_entry exported __asm__(QUOTE(ENTRY_NAME));
const newer_entry exported = {
    .known =
        {
            .magic = MAGIC,
            .struct_size = ENTRY_SIZE,
            .abi_version = ABI_VERSION,
            .layout = LAYOUT,
#ifndef NULL_INIT
            .init = init,
#endif
#ifndef NULL_GET_FACTORY
            .get_factory = get_factory,
#endif
        },
    .tail = {(void *)~0ul, (void *)~0ul},
};
#endif

#ifdef PADDING
/* Makes libraries of other contents. */
KEYLANE_EXPORT const char padding[] = PADDING;
#endif
