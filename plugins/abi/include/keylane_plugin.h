/* keylane_plugin.h - the plugin ABI of keylane, major 1, for C99, C11, C++11 and later. 64-bit targets only.
 *
 * A plugin is a shared library that exports one data symbol, `keylane_plugin_entry_v1`. docs/plugins.md is the guide. Plugins in C with
 * one processor are about 30 lines with keylane_plugin_easy.h, those in C++ with keylane_plugin.hpp; this header is all that they need.
 *
 * THE COMPATIBILITY RULE
 *   - What is released is never changed in place: no member moves, changes its type, its meaning, its thread or whether it may
 *     be NULL. A changed thing gets a new name beside the old one, or a new extension id such as "keylane.thing/2".
 *   - Structs grow at the end only. A struct that one side hands to the other begins with its `struct_size` as the *writer*
 *     knew it. The reader looks at a member behind minor 0 only after KEYLANE_HAS; what is not there counts as 0 or NULL.
 *     Elements of arrays carry no size: their array carries a stride, and the reader walks by it.
 *   - Both sides load every minor of the same major. A break of this rule is a new major, and has a new symbol's name.
 *   - A reader meets values that it does not know. An unknown status is KEYLANE_E_FATAL; an unknown value kind is to be left alone,
 *     and can still be rendered by the host; unknown flags mean nothing.
 *   - Members called `reserved` are written as 0 and not read.
 *
 * THREADS
 *   [control]  Any thread, but never two calls for the same object at once. Other objects may be at work meanwhile.
 *   [shard]    Calls for one instance never overlap. The thread may change between two calls unless KEYLANE_F_THREAD_AFFINE.
 *   [any]      Any thread, at any time between the instance's creation and its destruction.
 *   A [shard] call must not block for long: all events of its shard wait behind it.
 *
 * MEMORY
 *   Nobody frees the other side's memory. What is passed to a call lives until the call returns. What a plugin returns lives until
 *   the process ends (entry, factory, descriptor) or until destroy() returns (instance). A plugin's library is never unloaded.
 *
 * FAULTS
 *   No exception and no panic leaves a plugin: each function catches them itself, or the process ends. */
#ifndef KEYLANE_PLUGIN_H
#define KEYLANE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KEYLANE_ABI_MAJOR 1u
#define KEYLANE_ABI_MINOR 0u
#define KEYLANE_ABI_VERSION ((KEYLANE_ABI_MAJOR << 16) | KEYLANE_ABI_MINOR)

#define KEYLANE_EXPORT __attribute__((visibility("default")))

/* Whether the struct behind `p`, which begins with a struct_size, reaches to the end of member `m` of type `T`. */
#define KEYLANE_HAS(p, T, m) ((size_t)(p)->struct_size >= offsetof(T, m) + sizeof((p)->m))

/* ---- results ---------------------------------------------------------------------------------------------------------- */

typedef int32_t keylane_status;

/* From the plugin to the host and back. The host takes any other negative value, and any positive one but KEYLANE_AGAIN, for
 * KEYLANE_E_FATAL. */
enum {
  KEYLANE_OK = 0,
  KEYLANE_AGAIN = 1,         /* not now: the events from `processed` on were not taken; the host offers them again, later */
  KEYLANE_E_EVENT = -1,      /* the event at `processed` cannot be processed: it is reported as lost, and delivery goes on */
  KEYLANE_E_FATAL = -2,      /* the instance is of no more use. No event is to blame: those from `processed` on go to the next one */
  KEYLANE_E_PANIC = -3,      /* as E_FATAL, but the event at `processed` is to blame and lost */
  KEYLANE_E_CONFIG = -4,     /* the configuration is refused; the message says where and why */
  KEYLANE_E_STATE = -5,      /* the saved state is refused */
  KEYLANE_E_UNSUPPORTED = -6,/* this side does not do that, or not here */
  KEYLANE_E_NOMEM = -7,
  KEYLANE_E_WOULD_BLOCK = -8,/* there is no room; try again in a later call */
  KEYLANE_E_ABI = -9,        /* a struct is too small, or its contents contradict each other */
  KEYLANE_E_HOPS = -10,      /* the derived event would have too many ancestors */
  KEYLANE_E_INVALID = -11    /* an argument is wrong */
};

/* ---- plain data ------------------------------------------------------------------------------------------------------- */

/* Borrowed bytes. `ptr` is NULL when the thing is absent, and then `len` is 0; something empty has a `ptr` that is not NULL.
 * Text is UTF-8 without a NUL at its end. */
typedef struct keylane_bytes {
  const uint8_t *ptr;
  size_t len;
} keylane_bytes;

/* The host's buffer for the text of an error. Its size is fixed for the whole major. */
typedef struct keylane_error {
  uint32_t struct_size;
  int32_t code;              /* more than the status tells, if the plugin has it; 0 else */
  char message[504];         /* UTF-8 that ends with a NUL; what is longer is cut off */
} keylane_error;

/* An address of a peer. Its size is fixed for the whole major. */
typedef struct keylane_addr {
  uint8_t family;            /* 0: absent (a Unix socket, or unknown), 4 or 6 */
  uint8_t has_port;          /* 0 or 1 */
  uint16_t port;             /* in the byte order of the machine */
  uint32_t scope_id;         /* for IPv6 */
  uint8_t ip[16];            /* as on the wire; IPv4 in the first four */
} keylane_addr;

typedef struct keylane_kv {
  keylane_bytes key, value;
} keylane_kv;

/* Takes output of the plugin. `write` returns KEYLANE_OK, or an error that the plugin passes on at once. */
typedef struct keylane_writer {
  uint32_t struct_size, reserved;
  void *ctx;
  keylane_status (*write)(void *ctx, const uint8_t *bytes, size_t len);
} keylane_writer;

/* ---- events ----------------------------------------------------------------------------------------------------------- */

/* The predefined types. Codes up to 255 are kept for later ones; from 256 on they are the program's: USER(n) is 256 + n. */
enum {
  KEYLANE_NOT_SET = 0,
  KEYLANE_COMMON_ERROR = 1,
  KEYLANE_NEW_CERTIFICATE = 2,
  KEYLANE_DROP_CERTIFICATE = 3,
  KEYLANE_FAILED_AUTH = 4,
  KEYLANE_START_REQUEST = 5,
  KEYLANE_FAILED_REQUEST = 6,
  KEYLANE_FINISH_REQUEST = 7,
  KEYLANE_TRAFFIC = 8,
  KEYLANE_USER_BASE = 256
};
#define KEYLANE_TYPE_UNKNOWN UINT32_MAX

/* What an event carries. */
enum {
  KEYLANE_V_NONE = 0,
  KEYLANE_V_BOOL = 1,        /* value.u64, 0 or 1 */
  KEYLANE_V_I64 = 2,
  KEYLANE_V_U64 = 3,
  KEYLANE_V_F64 = 4,
  KEYLANE_V_UTF8 = 5,        /* value.ptr and value_len */
  KEYLANE_V_BYTES = 6,
  KEYLANE_V_JSON = 7,        /* one JSON text, valid */
  KEYLANE_V_META = 8,        /* value.ptr leads to a keylane_meta; value_len is its struct_size */
  KEYLANE_V_OPAQUE = 9       /* a value of the program's own type: keylane_host.render makes text of it */
};

/* keylane_event.flags */
enum {
  KEYLANE_EV_KEYED = 1u,     /* the event has a key; without, key_hash is the number that chose the shard */
  KEYLANE_EV_REDELIVERED = 2u,/* an instance that failed was given the event before, and may have seen it */
  KEYLANE_EV_REPLAY = 4u     /* the event comes from a stored stream */
};

/* One event: 64 bytes. Grows only at its end; walk by keylane_batch.event_stride. */
typedef struct keylane_event {
  uint32_t type_id;          /* keylane_host.type_name gives its name */
  uint8_t value_kind;        /* KEYLANE_V_* */
  uint8_t hops;              /* how many events lie between this one and the one from outside that it descends from */
  uint16_t flags;            /* KEYLANE_EV_* */
  uint32_t key_len, value_len;
  uint64_t seq;              /* number in the stream of this processor on this shard, from 0; goes on over AGAIN and swaps */
  int64_t wall_ns;           /* when it was emitted, since 1970 in UTC; may go back when the clock is set */
  uint64_t mono_ns;          /* the same on the clock of keylane_batch.now_mono_ns, which never goes back */
  uint64_t key_hash;         /* the SeaHash of the key's bytes, by which the shard was chosen */
  const uint8_t *key;        /* the key's bytes; NULL when only the hash travelled, which is the rule */
  union {
    const void *ptr;
    int64_t i64;
    uint64_t u64;
    double f64;
  } value;
} keylane_event;

/* keylane_batch.flags */
enum {
  KEYLANE_BATCH_DRAINING = 1u /* the bus shuts down, or this instance is about to be replaced */
};

typedef struct keylane_batch {
  uint32_t struct_size;
  uint32_t count;            /* 0 is legal */
  const void *events;        /* event i is at (const char *)events + i * event_stride; see keylane_event_at */
  size_t event_stride;       /* at least 64, a multiple of 8 */
  uint32_t shard, shard_count;
  uint32_t flags, reserved;
  int64_t now_wall_ns;       /* the clocks when the call began */
  uint64_t now_mono_ns;      /* nanoseconds of a clock that never goes back; its zero is not defined */
} keylane_batch;

static inline const keylane_event *keylane_event_at(const keylane_batch *batch, uint32_t i) {
  return (const keylane_event *)(const void *)((const char *)batch->events + (size_t)i * batch->event_stride);
}

/* What process() says beside its status. The host writes struct_size and `error`, and 0 into the rest. */
typedef struct keylane_batch_result {
  uint32_t struct_size;
  uint32_t processed;        /* how many events, from the first, are done. Not read with KEYLANE_OK, which means all of them */
  keylane_error *error;      /* the text for every status but OK and AGAIN; with AGAIN it may say what is waited for */
  uint64_t retry_after_ns;   /* with AGAIN: when to offer the rest again; 0 leaves it to the host */
} keylane_batch_result;

/* ---- the values of the predefined types ------------------------------------------------------------------------------- */

/* What every meta begins with. Look at meta_id, not at the event's type: a program may send a meta with a type of its own. */
typedef struct keylane_meta {
  uint32_t struct_size;
  uint32_t meta_id;          /* the code of the type that the meta belongs to, KEYLANE_START_REQUEST say */
} keylane_meta;

/* keylane_meta_request.request_type */
enum { KEYLANE_REQUEST_TUNNELED = 1u, KEYLANE_REQUEST_TLS = 2u, KEYLANE_REQUEST_UPGRADED = 4u };

/* A URI in pieces: [scheme "://"] [authority] [path_and_query]. User and password are not removed. */
typedef struct keylane_uri {
  keylane_bytes scheme, authority, path_and_query;
} keylane_uri;

typedef struct keylane_meta_common_error { /* KEYLANE_COMMON_ERROR */
  uint32_t struct_size, meta_id;
  keylane_bytes method;      /* may be absent; then the URI is absent too, as a rule */
  keylane_uri uri;
  keylane_bytes err;         /* the error with its causes */
  keylane_addr addr;
} keylane_meta_common_error;

typedef struct keylane_meta_certificate { /* KEYLANE_NEW_CERTIFICATE, KEYLANE_DROP_CERTIFICATE */
  uint32_t struct_size, meta_id;
  keylane_bytes host;        /* the name or the address that the certificate is for */
  keylane_bytes cause;       /* why it was dropped; absent with NEW_CERTIFICATE */
  int64_t not_after_ns;      /* the end of its validity since 1970 in UTC; 0 when it is not known */
} keylane_meta_certificate;

/* keylane_meta_failed_auth.reason */
enum {
  KEYLANE_AUTH_MISSING = 1,  /* there were no credentials */
  KEYLANE_AUTH_OTHER_SCHEME = 2,
  KEYLANE_AUTH_MALFORMED = 3,
  KEYLANE_AUTH_REJECTED = 4
};

typedef struct keylane_meta_failed_auth { /* KEYLANE_FAILED_AUTH */
  uint32_t struct_size, meta_id;
  uint32_t reason;           /* KEYLANE_AUTH_*; readers meet others */
  uint32_t reserved;
  keylane_bytes request_id;  /* may be absent */
  keylane_bytes scheme;      /* the one that was asked for */
  keylane_bytes user;        /* who the client claims to be; may be absent */
  keylane_addr peer;         /* the other end of the connection */
  keylane_addr client;       /* the peer, or the client that trusted proxies name in its place */
} keylane_meta_failed_auth;

typedef struct keylane_meta_request { /* KEYLANE_START_REQUEST */
  uint32_t struct_size, meta_id;
  uint32_t request_type;     /* KEYLANE_REQUEST_* */
  uint32_t reserved;
  keylane_bytes request_id;
  keylane_bytes method;
  keylane_uri uri;
  keylane_bytes user;        /* absent when nobody was authenticated */
  keylane_addr addr;
} keylane_meta_request;

typedef struct keylane_meta_error { /* KEYLANE_FAILED_REQUEST */
  uint32_t struct_size, meta_id;
  keylane_bytes request_id;
  keylane_bytes err;         /* the error with its causes */
} keylane_meta_error;

typedef struct keylane_meta_response { /* KEYLANE_FINISH_REQUEST */
  uint32_t struct_size, meta_id;
  uint32_t status_code;
  uint32_t reserved;
  keylane_bytes request_id;
} keylane_meta_response;

typedef struct keylane_meta_traffic { /* KEYLANE_TRAFFIC */
  uint32_t struct_size, meta_id;
  keylane_bytes id;          /* of the request or of the connection */
  keylane_addr addr;
  uint64_t read_bytes, written_bytes;
} keylane_meta_traffic;

/* ---- what the host does for an instance --------------------------------------------------------------------------------- */

/* keylane_log_record.level, and what keylane_host.max_log_level holds */
enum { KEYLANE_LOG_OFF = 0, KEYLANE_LOG_ERROR = 1, KEYLANE_LOG_WARN = 2, KEYLANE_LOG_INFO = 3, KEYLANE_LOG_DEBUG = 4, KEYLANE_LOG_TRACE = 5 };

typedef struct keylane_log_record {
  uint32_t struct_size;
  uint32_t level;
  keylane_bytes target;      /* the part of the plugin that speaks; may be absent */
  keylane_bytes message;
  keylane_bytes file;        /* may be absent */
  uint32_t line;             /* 0: unknown */
  uint32_t kv_count;
  const keylane_kv *kv;
} keylane_log_record;

/* The kinds of cells. */
enum {
  KEYLANE_CELL_COUNTER = 0,  /* only ever grows */
  KEYLANE_CELL_GAUGE = 1     /* an int64_t as its two's complement */
};

/* keylane_emit.key_kind */
enum {
  KEYLANE_KEY_NONE = 0,      /* any shard, no order */
  KEYLANE_KEY_BYTES = 1,     /* the host hashes `key` */
  KEYLANE_KEY_HASH = 2       /* `key_hash`, that of the parent say */
};
#define KEYLANE_NO_PARENT UINT32_MAX

/* A derived event. An element of an array: it grows at its end, and the array has a stride. */
typedef struct keylane_emit {
  uint32_t type_id;
  uint8_t value_kind;        /* all but KEYLANE_V_META and KEYLANE_V_OPAQUE */
  uint8_t key_kind;          /* KEYLANE_KEY_* */
  uint16_t flags;            /* 0 */
  uint32_t parent;           /* the event of the batch that this one descends from; KEYLANE_NO_PARENT for the batch as a whole */
  uint32_t reserved;
  keylane_bytes key;
  uint64_t key_hash;
  keylane_bytes value;       /* for UTF8, BYTES and JSON */
  union {
    int64_t i64;
    uint64_t u64;
    double f64;
  } scalar;                  /* for the others */
} keylane_emit;

/* The forms of keylane_host.render. */
enum {
  KEYLANE_RENDER_JSON = 0,   /* one JSON text without a line break */
  KEYLANE_RENDER_TEXT = 1    /* for people; on one line as a rule, but not for certain */
};

/* The host as one instance sees it. It lives until destroy() returns; the cells of keylane_host.cell live as long as the process. None of
 * its functions of minor 0 is NULL. */
typedef struct keylane_host keylane_host;
struct keylane_host {
  uint32_t struct_size;
  uint32_t abi_version;      /* the host's; the host offers a plugin nothing that its major lacks */
  void *ctx;                 /* the host's own */
  keylane_bytes name, version; /* of the program: "keylane", "0.1.0" */
  const uint32_t *max_log_level; /* [any] records above it are thrown away: look (relaxed) before you format. See keylane_log_enabled */
  /* [any] Never blocks for long, never fails. */
  void (*log)(const keylane_host *, const keylane_log_record *);
  /* [control] in create(), [shard] later: a cell that the instance alone writes and the host reads. The same name and labels give
   * the same cell, also after a swap. `labels_json` is an object of strings, or absent. NULL when there are too many of them: then
   * count nothing. See keylane_cell_add. */
  uint64_t *(*cell)(const keylane_host *, uint32_t kind, keylane_bytes name, keylane_bytes labels_json);
  /* As `cell`: the number of a histogram, to be given to observe(). */
  uint32_t (*histogram)(const keylane_host *, keylane_bytes name, keylane_bytes labels_json);
  /* [any] Records a value; its unit is part of the histogram's name, "write_nanoseconds" say. */
  void (*observe)(const keylane_host *, uint32_t histogram, uint64_t value);
  /* [shard] Emits `n` derived events, which the host copies and sends when the call is over, in order. `stride` is the
   * plugin's sizeof(keylane_emit). *accepted is how many were taken, from the first; the status is about the one behind them:
   * WOULD_BLOCK, HOPS, INVALID, or UNSUPPORTED where nothing can be emitted (in shutdown() and destroy()). */
  keylane_status (*emit)(const keylane_host *, const keylane_emit *events, size_t n, size_t stride, size_t *accepted);
  /* [shard] In process() only: an event of the current batch, by its address there, as text. What comes is valid until process()
   * returns. INVALID when the address is none of the batch; UNSUPPORTED when the value has no such form; WOULD_BLOCK when
   * the text is longer than the host's limit. Works for every kind of value, and is the only way for OPAQUE. */
  keylane_status (*render)(const keylane_host *, const keylane_event *, uint32_t form, keylane_bytes *out);
  /* [any] The type with this name, "START_REQUEST", "USER(3)" or one that the program gave; KEYLANE_TYPE_UNKNOWN if there is none. */
  uint32_t (*type_id)(const keylane_host *, keylane_bytes name);
  /* [any] Never absent. Valid until destroy() returns. */
  keylane_bytes (*type_name)(const keylane_host *, uint32_t type_id);
  /* [any] Asks for one flush(KEYLANE_FLUSH_REQUESTED) when `after_ns` have passed, also if no event comes. A later wish replaces an
   * earlier one that is still open. The time is a lower bound: a busy shard comes later. */
  void (*request_flush)(const keylane_host *, uint64_t after_ns);
  /* [any] The clocks of keylane_batch. */
  int64_t (*now_wall_ns)(const keylane_host *);
  uint64_t (*now_mono_ns)(const keylane_host *);
  /* [any] A struct that the id names, or NULL. Ids look like "keylane.thing/1". Major 1 begins with none. */
  const void *(*get_extension)(const keylane_host *, const char *id);
};

/* ---- what a plugin does ------------------------------------------------------------------------------------------------ */

/* Why flush() is called. */
enum {
  KEYLANE_FLUSH_IDLE = 0,    /* the shard has nothing to read right now */
  KEYLANE_FLUSH_REQUESTED = 1,
  KEYLANE_FLUSH_SWAP = 2,    /* the instance is about to be replaced */
  KEYLANE_FLUSH_SHUTDOWN = 3
};

/* Why shutdown() is called. */
enum {
  KEYLANE_SHUTDOWN_BUS = 0,
  KEYLANE_SHUTDOWN_SWAP = 1,
  KEYLANE_SHUTDOWN_REMOVED = 2,
  KEYLANE_SHUTDOWN_FAULT = 3 /* after E_FATAL or E_PANIC; what the instance holds may be damaged */
};

/* An instance. It is allocated and freed by the plugin. */
typedef struct keylane_processor keylane_processor;
struct keylane_processor {
  uint32_t struct_size, reserved;
  void *data;                /* the plugin's own */
  /* [shard] Required. Processes a batch, in order. */
  keylane_status (*process)(keylane_processor *, const keylane_batch *, keylane_batch_result *);
  /* [shard] May be NULL. Writes out what is held back. AGAIN: not all could be written; the host calls again, also during a
   * shutdown, until its deadline. */
  keylane_status (*flush)(keylane_processor *, uint32_t reason, keylane_error *);
  /* [shard] May be NULL unless KEYLANE_F_STATEFUL. Writes the state for the instance that comes next, after flush(SWAP). */
  keylane_status (*save_state)(keylane_processor *, const keylane_writer *, keylane_error *);
  /* [shard] May be NULL unless KEYLANE_F_STATEFUL. Called at most once, before the first process(). `state_version` is that of the
   * descriptor that saved it. E_STATE refuses it: the swap is undone, the old instance goes on. */
  keylane_status (*load_state)(keylane_processor *, keylane_bytes state, uint32_t state_version, keylane_error *);
  /* [shard] May be NULL. The last call but destroy(). Not called for an instance that was never given to a shard. */
  void (*shutdown)(keylane_processor *, uint32_t reason);
  /* [control] Required. Called once, also after errors. */
  void (*destroy)(keylane_processor *);
  /* [any] May be NULL. */
  const void *(*get_extension)(keylane_processor *, const char *id);
};

/* keylane_descriptor.flags and keylane_manifest.flags */
enum {
  KEYLANE_F_STATEFUL = 1u,       /* has save_state and load_state */
  KEYLANE_F_THREAD_AFFINE = 2u,  /* create() to destroy() of one instance on one thread */
  KEYLANE_F_PANIC_UNWIND = 4u,   /* panics and exceptions are caught and become E_PANIC; without it they end the process */
  KEYLANE_F_NO_RELOAD = 8u,      /* must not be loaded twice in one process */
  KEYLANE_F_EMITS = 16u,         /* emits derived events */
  KEYLANE_F_SPAWNS_THREADS = 32u
};

/* What a factory can make. Strings end with a NUL; all but id and version may be NULL. */
typedef struct keylane_descriptor {
  uint32_t struct_size;
  uint32_t flags;            /* KEYLANE_F_* */
  uint32_t state_version;    /* the form of the saved state; 0 when there is none */
  uint32_t preferred_batch;  /* 0: the host's choice. A hint */
  const char *id;            /* reverse DNS, "org.example.dedup": 1 to 63 of a-z 0-9 . - _ */
  const char *version;       /* 1 to 31 characters */
  const char *name, *vendor, *description, *license, *url;
  const char *config_schema_json; /* a JSON Schema of the configuration, an object */
  const char *const *event_types; /* names, NULL behind the last: only these are delivered. NULL: all */
} keylane_descriptor;

typedef struct keylane_create_args {
  uint32_t struct_size;
  uint32_t shard, shard_count;
  uint32_t reserved;
  uint64_t generation;       /* 1 at first, one more with each replacement */
  keylane_bytes config_json; /* a JSON object; "{}" when nothing was configured */
  keylane_bytes instance_name; /* the name that the processor was registered under */
} keylane_create_args;

#define KEYLANE_FACTORY_ID "keylane.processor-factory/1"

typedef struct keylane_factory {
  uint32_t struct_size, reserved;
  uint32_t (*count)(void);                                                   /* [any] Required */
  const keylane_descriptor *(*descriptor)(uint32_t index);                   /* [any] Required. NULL from count() on */
  /* [any] May be NULL. Says what create() would say to the configuration, without touching anything outside of the process. */
  keylane_status (*check_config)(const char *id, keylane_bytes config_json, keylane_error *);
  /* [control] Required. For different shards at the same time. With OK *out is an instance of its own, else it is not read. The host
   * outlives the instance. */
  keylane_status (*create)(const char *id, const keylane_host *, const keylane_create_args *, keylane_processor **out, keylane_error *);
} keylane_factory;

/* ---- how a plugin is found --------------------------------------------------------------------------------------------- */

#define KEYLANE_MAGIC UINT64_C(0x31454e414c59454b) /* "KEYLANE1" in memory, little end first */

/* A byte each for where the last member of minor 0 lies: finds other packing, other pointers and other headers before any call. */
#define KEYLANE_LAYOUT                                                                                                      \
  ((uint64_t)(sizeof(void *) | sizeof(size_t) << 4) | (uint64_t)(offsetof(keylane_event, value) / 4) << 8 |               \
   (uint64_t)(offsetof(keylane_batch, now_mono_ns) / 4) << 16 | (uint64_t)(offsetof(keylane_emit, scalar) / 4) << 24 |   \
   (uint64_t)(offsetof(keylane_batch_result, retry_after_ns) / 4) << 32 |                                                 \
   (uint64_t)(offsetof(keylane_host, get_extension) / 4) << 40 |                                                          \
   (uint64_t)(offsetof(keylane_processor, get_extension) / 4) << 48 | (uint64_t)(sizeof(keylane_error) / 8) << 56)

typedef struct keylane_entry {
  uint64_t magic;            /* KEYLANE_MAGIC */
  uint32_t struct_size;
  uint32_t abi_version;      /* KEYLANE_ABI_VERSION of the plugin's header */
  uint64_t layout;           /* KEYLANE_LAYOUT; checked, as all of the above, before any call */
  /* [control] May be NULL. Once per loaded library, before everything else. `load_path` is the file that is mapped. */
  keylane_status (*init)(const char *load_path, uint32_t host_abi_version, keylane_error *);
  /* [control] May be NULL. When the process ends in order, after all instances are gone; or never. */
  void (*deinit)(void);
  /* [any] Required. NULL for an id that is not known; KEYLANE_FACTORY_ID must be. */
  const void *(*get_factory)(const char *factory_id);
} keylane_entry;

/* The major version is in the symbol's name. One library may export several majors. */
#define KEYLANE_ENTRY_SYMBOL "keylane_plugin_entry_v1"
extern KEYLANE_EXPORT const keylane_entry keylane_plugin_entry_v1;

/* ---- what can be read without running the plugin ------------------------------------------------------------------------- */

/* The descriptor of an ELF note of type 1 and owner "keylane", in section .note.keylane, which is part of a PT_NOTE segment and so
 * survives strip. Multiples of 4 bytes with that alignment throughout, as notes have it. Texts end with a NUL. */
typedef struct keylane_manifest {
  uint32_t struct_size;
  uint32_t abi_version;
  uint32_t layout_low, layout_high; /* KEYLANE_LAYOUT */
  uint32_t flags;            /* KEYLANE_F_* of the library */
  uint32_t processors;       /* how many its factory makes */
  char id[64];               /* of the first processor */
  char version[32];
  char built_with[64];       /* compiler and target; may be empty */
} keylane_manifest;

#define KEYLANE_NOTE_SECTION ".note.keylane"
#define KEYLANE_NOTE_OWNER "keylane"
#define KEYLANE_NOTE_TYPE 1u

typedef struct keylane_note {
  uint32_t name_size, descriptor_size, type;
  char name[8];
  keylane_manifest manifest;
} keylane_note;

/* Defines the note. Texts are literals. */
#define KEYLANE_PLUGIN_MANIFEST(plugin_id, plugin_version, plugin_flags, plugin_processors)                               \
  __attribute__((used, section(KEYLANE_NOTE_SECTION), aligned(4))) static const keylane_note keylane_plugin_note = {      \
      8u,                                                                                                                 \
      (uint32_t)sizeof(keylane_manifest),                                                                                 \
      KEYLANE_NOTE_TYPE,                                                                                                  \
      KEYLANE_NOTE_OWNER,                                                                                                 \
      {(uint32_t)sizeof(keylane_manifest), KEYLANE_ABI_VERSION, (uint32_t)KEYLANE_LAYOUT, (uint32_t)(KEYLANE_LAYOUT >> 32), \
       (plugin_flags), (plugin_processors), plugin_id, plugin_version, KEYLANE_BUILT_WITH}}

#if defined(__clang__)
#define KEYLANE_COMPILER_NAME "clang " KEYLANE_STRING(__clang_major__) "." KEYLANE_STRING(__clang_minor__)
#elif defined(__GNUC__)
#define KEYLANE_COMPILER_NAME "gcc " KEYLANE_STRING(__GNUC__) "." KEYLANE_STRING(__GNUC_MINOR__)
#else
#define KEYLANE_COMPILER_NAME "another compiler"
#endif
#define KEYLANE_STRING_(x) #x
#define KEYLANE_STRING(x) KEYLANE_STRING_(x)
#ifdef __cplusplus
#define KEYLANE_BUILT_WITH KEYLANE_COMPILER_NAME ", C++"
#else
#define KEYLANE_BUILT_WITH KEYLANE_COMPILER_NAME ", C"
#endif

/* ---- small conveniences ------------------------------------------------------------------------------------------------ */

/* A compile error here means that the target is none of this ABI's. */
typedef char keylane_needs_a_64_bit_target[sizeof(void *) == 8 && sizeof(size_t) == 8 && sizeof(keylane_event) == 64 ? 1 : -1];

static inline int keylane_log_enabled(const keylane_host *host, uint32_t level) {
  return level <= __atomic_load_n(host->max_log_level, __ATOMIC_RELAXED);
}

/* For [shard] calls. A cell has one writer, so the addition need not be one step; the store has to be. */
static inline void keylane_cell_add(uint64_t *cell, uint64_t n) {
  if (cell) __atomic_store_n(cell, __atomic_load_n(cell, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void keylane_cell_set(uint64_t *cell, int64_t value) {
  if (cell) __atomic_store_n(cell, (uint64_t)value, __ATOMIC_RELAXED);
}

#ifdef __cplusplus
}
#endif
#endif
