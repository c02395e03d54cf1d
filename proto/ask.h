/* ask.h - what the commands that question a running service share: picture files, and what a failed call means to a person */
#ifndef PROTO_ASK_H
#define PROTO_ASK_H

#include "proto/generate.h"

/* Where a path is that stands in `file`: beside it, unless it is absolute; malloc'ed. */
char *ask_path_beside(const char *file, const char *path);

/* Reads a picture file of at most the service's message limit; the bytes are the caller's, also after an error. */
int ask_picture(struct generate_picture *picture, const char *path, struct error *err);

/* Puts the file in front of a text about one of the pictures ("media[0]: ..."): the service counts them, the user gave files. */
void ask_name_picture(const char *const *files, int n, struct error *err);

/* Puts the address and the status before the text, and what to do where nobody answers; always -1. */
int ask_failed(const char *address, enum rpc_status status, struct error *err);

#endif
