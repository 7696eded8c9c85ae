/* A plugin that is as it should be, and with -DFAULT_NAME wrong in one way. It counts events, the bytes of their values, and keeps the
 * count as its state. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keylane_plugin.h"

#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifdef FAULT_MANIFEST_FLAGS
KEYLANE_PLUGIN_MANIFEST("org.example.faulty", VERSION, KEYLANE_F_EMITS, 1);
#elif defined(ONCE)
KEYLANE_PLUGIN_MANIFEST("org.example.faulty", VERSION, KEYLANE_F_STATEFUL | KEYLANE_F_NO_RELOAD, 1);
#elif !defined(FAULT_NO_MANIFEST)
KEYLANE_PLUGIN_MANIFEST("org.example.faulty", VERSION, KEYLANE_F_STATEFUL, 1);
#endif

typedef struct instance {
  keylane_processor head;
  const keylane_host *host;
  uint64_t count;
  uint64_t *events, *bytes, *version;
  const keylane_event *kept;
  void *block;
} instance;

static keylane_bytes text(const char *s) {
  keylane_bytes bytes = {(const uint8_t *)s, strlen(s)};
  return bytes;
}

static void say(keylane_error *error, const char *message) {
  if (error) strncpy(error->message, message, sizeof error->message - 1);
}

static void *wait_for_ever(void *arg) {
  for (;;) pause();
  return arg;
}

static void *emit_from_a_thread(void *arg) {
  instance *self = arg;
  keylane_emit out = {0};
  size_t accepted;
  out.type_id = KEYLANE_USER_BASE;
  out.parent = KEYLANE_NO_PARENT;
  self->host->emit(self->host, &out, 1, sizeof out, &accepted);
  return 0;
}

static void handler(int signal) { (void)signal; }

static keylane_status process(keylane_processor *p, const keylane_batch *batch, keylane_batch_result *result) {
  instance *self = (instance *)p;
  (void)emit_from_a_thread;
  for (uint32_t i = 0; i < batch->count; i++) {
#ifdef FAULT_STRIDE
    const keylane_event *event = (const keylane_event *)batch->events + i;
    if (event->value_kind > KEYLANE_V_OPAQUE + 100) abort();
#else
    const keylane_event *event = keylane_event_at(batch, i);
#endif
    int is_bytes = event->value_kind == KEYLANE_V_UTF8 || event->value_kind == KEYLANE_V_BYTES || event->value_kind == KEYLANE_V_JSON;
    result->processed = i;
#ifdef ONLY_TRAFFIC
    if (event->type_id != KEYLANE_TRAFFIC) abort();
#endif
#ifdef FAULT_UNKNOWN_KIND
    if (event->value_kind > KEYLANE_V_OPAQUE) abort();
#endif
#ifdef FAULT_EMPTY_TEXT
    if (is_bytes && event->value_len == 0 && ((const char *)event->value.ptr)[0]) is_bytes = 0;
#endif
#ifdef FAULT_ABSENT_META
    if (event->value_kind == KEYLANE_V_META && ((const keylane_meta *)event->value.ptr)->meta_id == KEYLANE_COMMON_ERROR) {
      const keylane_meta_common_error *error = event->value.ptr;
      if (error->method.ptr[0] == 'x') is_bytes = 0;
    }
#endif
#ifdef FAULT_WRITES
    ((keylane_event *)event)->hops = 0;
#endif
#ifdef FAULT_HANGS
    if (event->value_kind == KEYLANE_V_F64)
      for (;;) pause();
#endif
#ifdef FAULT_EXITS
    if (event->value_kind == KEYLANE_V_JSON) exit(0);
#endif
#ifdef FAULT_PANICS
    if (event->value_kind == KEYLANE_V_BOOL) {
      say(result->error, "a truth value");
      return KEYLANE_E_PANIC;
    }
#endif
#ifdef FAULT_STATUS
    if (event->value_kind == KEYLANE_V_BOOL) return 77;
#endif
#ifdef FAULT_STALLS
    if (event->value_kind == KEYLANE_V_BOOL) return KEYLANE_AGAIN;
#endif
#ifdef FAULT_OVER
    result->processed = batch->count + 1;
    return KEYLANE_AGAIN;
#endif
#ifdef FAULT_LEAKS_EVENTS
    *(volatile char *)malloc(16) = 1;
#endif
#ifdef FAULT_THREAD
    if (event->value_kind == KEYLANE_V_BYTES) {
      pthread_t thread;
      pthread_create(&thread, 0, emit_from_a_thread, self);
      pthread_join(thread, 0);
    }
#endif
    self->kept = event;
    self->count++;
    keylane_cell_add(self->events, 1);
    if (is_bytes) keylane_cell_add(self->bytes, event->value_len);
#ifdef FAULT_CELLS
    *(volatile uint64_t *)self->events += 0;
#endif
  }
  keylane_cell_set(self->version, VERSION[0] - '0');
#ifdef FAULT_EMPTY_BATCH
  if (keylane_event_at(batch, batch->count - 1)->hops > 250) self->count++;
#endif
  result->processed = batch->count;
  return KEYLANE_OK;
}

static keylane_status flush(keylane_processor *p, uint32_t reason, keylane_error *error) {
  instance *self = (instance *)p;
  (void)reason, (void)error;
#ifdef FAULT_KEEPS
  if (self->kept) self->count += self->kept->hops;
#endif
  (void)self;
  return KEYLANE_OK;
}

static keylane_status save_state(keylane_processor *p, const keylane_writer *writer, keylane_error *error) {
  instance *self = (instance *)p;
  (void)error;
#ifdef FAULT_WRITER
  writer->write(writer->ctx, (const uint8_t *)&self->count, sizeof self->count);
  return KEYLANE_OK;
#endif
  return writer->write(writer->ctx, (const uint8_t *)&self->count, sizeof self->count);
}

static keylane_status load_state(keylane_processor *p, keylane_bytes state, uint32_t version, keylane_error *error) {
  instance *self = (instance *)p;
#ifdef FAULT_REFUSES
  say(error, "not mine");
  return KEYLANE_E_STATE;
#endif
#ifdef FAULT_TRUSTS
  uint64_t place;
  memcpy(&place, state.ptr, sizeof place);
  if (place) self->count = state.ptr[place];
  return KEYLANE_OK;
#endif
  if (version != 1 || state.len != sizeof self->count) {
    say(error, "another form");
    return KEYLANE_E_STATE;
  }
  memcpy(&self->count, state.ptr, sizeof self->count);
  return KEYLANE_OK;
}

static void destroy(keylane_processor *p) {
  instance *self = (instance *)p;
#ifdef FAULT_TWICE
  free(self->block);
#endif
#ifndef FAULT_LEAKS
  free(self->block);
#endif
  free(self);
}

static int has(keylane_bytes config, const char *word) { return memmem(config.ptr, config.len, word, strlen(word)) != 0; }

static keylane_status check_config(const char *id, keylane_bytes config, keylane_error *error) {
  (void)id;
#ifdef FAULT_CONFIG_CRASHES
  if (config.len > 3000) abort();
#endif
#ifndef FAULT_TAKES_ALL
  if (has(config, ":") && !has(config, "\"known\"")) {
    say(error, "there is only the member known");
    return KEYLANE_E_CONFIG;
  }
  if (has(config, "no such member")) {
    say(error, "there is no such member");
    return KEYLANE_E_CONFIG;
  }
#endif
  return KEYLANE_OK;
}

static keylane_status create(const char *id, const keylane_host *host, const keylane_create_args *args, keylane_processor **out,
                             keylane_error *error) {
  keylane_status checked = check_config(id, args->config_json, error);
  if (checked != KEYLANE_OK) return checked;
#ifdef REFUSES_TO_BEGIN
  say(error, "not today");
  return KEYLANE_E_FATAL;
#endif
#ifdef FAULT_NEVER
  for (;;) pause();
#endif
#ifdef FAULT_FOLDER
  if (chdir("/")) return KEYLANE_E_FATAL;
#endif
#ifdef FAULT_SIGNALS
  signal(SIGUSR1, handler);
#endif
#ifdef FAULT_FILES
  open("/dev/null", O_RDONLY);
#endif
#ifdef FAULT_THREADS
  {
    pthread_t thread;
    pthread_create(&thread, 0, wait_for_ever, 0);
  }
#endif
  (void)handler, (void)wait_for_ever;
  instance *self = calloc(1, sizeof *self);
  self->head.struct_size = sizeof self->head;
  self->head.process = process;
  self->head.flush = flush;
  self->head.save_state = save_state;
  self->head.load_state = load_state;
  self->head.destroy = destroy;
  self->host = host;
  self->block = malloc(32);
  self->events = host->cell(host, KEYLANE_CELL_COUNTER, text("events"), text(""));
  self->bytes = host->cell(host, KEYLANE_CELL_COUNTER, text("bytes"), text("{\"unit\":\"B\"}"));
  self->version = host->cell(host, KEYLANE_CELL_GAUGE, text("version"), text(""));
  if (keylane_log_enabled(host, KEYLANE_LOG_INFO)) {
    keylane_log_record record = {0};
    record.struct_size = sizeof record;
    record.level = KEYLANE_LOG_INFO;
    record.message = text("here is version " VERSION "\n\033[31m");
    host->log(host, &record);
  }
  *out = &self->head;
  return KEYLANE_OK;
}

#ifdef ONLY_TRAFFIC
static const char *const only_traffic[] = {"TRAFFIC", 0};
#endif

static const keylane_descriptor the_descriptor = {
    .struct_size = sizeof(keylane_descriptor),
#ifdef ONCE
    .flags = KEYLANE_F_STATEFUL | KEYLANE_F_NO_RELOAD,
#else
    .flags = KEYLANE_F_STATEFUL,
#endif
    .state_version = 1,
    .id = "org.example.faulty",
    .version = VERSION,
#ifdef ONLY_TRAFFIC
    .event_types = only_traffic,
#endif
#ifdef FAULT_SCHEMA
    .config_schema_json = "{\"type\": ",
#endif
};

static uint32_t count(void) { return 1; }
static const keylane_descriptor *descriptor(uint32_t index) {
#ifndef FAULT_ONE_TOO_MANY
  if (index) return 0;
#endif
  return &the_descriptor;
}

static const keylane_factory factory = {
    .struct_size = sizeof factory,
    .count = count,
    .descriptor = descriptor,
    .check_config = check_config,
    .create = create,
};

#ifdef ONCE
static keylane_status init(const char *path, uint32_t version, keylane_error *error) {
  (void)path, (void)version;
  if (getenv("ORG_EXAMPLE_FAULTY")) {
    say(error, "loaded twice");
    return KEYLANE_E_FATAL;
  }
  return setenv("ORG_EXAMPLE_FAULTY", "loaded", 1) ? KEYLANE_E_FATAL : KEYLANE_OK;
}
#endif

static const void *get_factory(const char *id) { return strcmp(id, KEYLANE_FACTORY_ID) ? 0 : &factory; }

#ifdef FAULT_CONSTRUCTOR
__attribute__((constructor)) static void constructor(void) { *(volatile int *)8 = 1; }
#endif

KEYLANE_EXPORT extern const keylane_entry keylane_plugin_entry_v1;
const keylane_entry keylane_plugin_entry_v1 = {
    .magic = KEYLANE_MAGIC,
    .struct_size = sizeof(keylane_entry),
    .abi_version = KEYLANE_ABI_VERSION,
    .layout = KEYLANE_LAYOUT,
#ifdef ONCE
    .init = init,
#endif
    .get_factory = get_factory,
};
