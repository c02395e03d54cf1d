/* error.h - the text of a failure that is somebody else's fault: a file, a flag, a request, a peer.
 *
 * A function that can fail so takes a `struct error *` last, returns 0 on success and -1 with the text filled in, naming the file,
 * field or peer and what would be right. A broken device or collective is no such failure: see DEVICE_CHECK in base/log.h. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

struct error {
    char text[1024];
};

/* Fills in the text; always returns -1, so `return fail(err, ...)`. err may be NULL. */
int fail(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "context: " before the text that a callee left; always returns -1. err may be NULL. */
int fail_in(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
