/* llava.h - conversations as LLaVA's data sets have them (LLaVA-Pretrain blip_laion_cc_sbu_558k.json, llava_v1_5_mix665k.json), as
 * questions. An entry is
 *
 *     {"image": FILE, [FILE], null or absent,
 *      "conversations": [{"from": "human", "value": TEXT}, {"from": "gpt", "value": TEXT}, {"from": "human", ...} ...]}
 *
 * where exactly one human turn has the mark <image> when there is a picture, and none has it when there is none. Other members are
 * not looked at. */
#ifndef PROTO_LLAVA_H
#define PROTO_LLAVA_H

#include <jansson.h>

#include "base/error.h"

/* How many human turns the entry has; -1 where it is no such conversation: an error names the member. */
int llava_questions(const json_t *entry, struct error *err);

/* Human turn i of an entry that is one, as the object that a line of questions.h would be: the turns before it are "earlier", the
 * answer, where there is one, is the "reference". The mark, wherever it stood, is left out with the white space at the ends of its
 * turn: the picture stands before the first text. A new reference. */
json_t *llava_question(const json_t *entry, int i);

#endif
