/* Stand-in for libedgetpu.so.1, which is not to be had without its maker's packages: a TFLite external delegate that
 * loads as the real one does and claims no operator, or misbehaves as MODE says. It shows how loading is handled, never
 * that an Edge TPU works. */
#include <stdint.h>
#include <stdlib.h>

typedef struct Delegate {
  void *data;
  int (*prepare)(void *context, struct Delegate *delegate);
  int (*copy_from)(void *, struct Delegate *, int, void *);
  int (*copy_to)(void *, struct Delegate *, int, void *);
  void (*release)(void *, struct Delegate *, int *);
  int64_t flags;
  void *opaque;
} Delegate;

enum { CLAIMS_NOTHING, NO_DEVICE, CRASHES, ABORTS, CRASHES_LATER };

static int nothing(void *context, Delegate *delegate) {
  (void)context;
  (void)delegate;
  if (MODE == CRASHES_LATER) *(volatile int *)0 = 1;
  return 0;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  (void)keys;
  (void)values;
  (void)count;
  if (MODE == CRASHES) *(volatile int *)0 = 1;
  if (MODE == ABORTS) abort();
  if (MODE == NO_DEVICE) {
    if (report) report("stand-in: no device");
    return NULL;
  }
  Delegate *made = calloc(1, sizeof *made);
  made->prepare = nothing;
  return made;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }

const char *edgetpu_version(void) { return "stand-in, not libedgetpu"; }
