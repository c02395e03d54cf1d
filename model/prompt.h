/* prompt.h - a conversation, or an already rendered prompt, to token ids with pictures in their places and positions */
#ifndef MODEL_PROMPT_H
#define MODEL_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "model/config.h"
#include "model/tokenizer.h"
#include "model/views.h"

enum prompt_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT };

struct prompt_part {  /* of a turn: text, or a picture */
    const char *text; /* NULL = the next picture of the request, in order */
};

struct prompt_turn {
    enum prompt_role role;
    const struct prompt_part *parts;
    int n_parts;
};

struct prompt_picture { /* where one picture, or a crop of it, stands */
    int first, count;   /* rows of the prompt */
    int lines, columns; /* of its tokens: grid / merge */
};

struct prompt {
    int n;
    int32_t *ids;                    /* (n) */
    int32_t (*positions)[3];         /* (n) time, height, width; all three equal for text */
    int32_t next_position;           /* of the first generated token; rope_delta = next_position - n */
    struct prompt_picture *pictures; /* each in front of its crops */
    int n_pictures;
    bool pictures_whole; /* rows of a picture go into one step (model/family.h) */
    int32_t *words;      /* (n_words) where it has pictures: the ids of the same prompt without them */
    int n_words;
};

/* In all three shapes[i] is picture i's, and another count of placeholders an error. A picture with crops stands in a conversation,
 * and in a rendered prompt, like any other: the family's words and placeholders around crops are put in here. */

/* A conversation through the family's chat template; a missing system turn gets the family's default. Only the template makes
 * special tokens: the text of a turn never does, so a user cannot forge a turn or a placeholder. */
int prompt_make_turns(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                      const struct prompt_turn *turns, int n_turns, const struct picture_shape *shapes, int n_shapes,
                      struct error *err);

/* A conversation of text alone, but for a picture, or none, before the first: what training data have. */
struct prompt_question {
    char *const *earlier; /* (n_earlier) the turns before, the user's and the assistant's in order */
    int n_earlier;
    const char *text;                  /* the user's last */
    const struct picture_shape *shape; /* NULL = no picture */
};
int prompt_make_question(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer,
                         const struct prompt_question *question, struct error *err);

/* A prompt that the caller rendered: special tokens are parsed, one placeholder per picture. */
int prompt_make(struct prompt *prompt, const struct model_config *config, const struct tokenizer *tokenizer, const char *text,
                const struct picture_shape *shapes, int n_shapes, struct error *err);

/* From ids that already hold one placeholder per picture and one for each of its crops behind it. Its words are the ids but for
 * placeholders and vision markers; the other two render the text alone, where line feeds and words beside a picture may become
 * other tokens. */
int prompt_make_ids(struct prompt *prompt, const struct model_config *config, const int32_t *ids, int n,
                    const struct picture_shape *shapes, int n_shapes, struct error *err);

/* Rows that may go into one step from row `first` on: at most `most`, fewer where these would cut a picture that must be whole. 0:
 * that picture is next, and `most` rows do not hold it. */
int prompt_chunk_rows(const struct prompt *prompt, int first, int most);

/* The rows of that picture from `first` on, when that row is of one that must be whole; else 0. (Rows before `first` are then in
 * the cache from a step that had all of it: adopted pages may end amid a picture.) */
int prompt_whole_rows(const struct prompt *prompt, int first);

/* The same prompt for a model that has another projector or other axes: its own number of tokens for each picture, and positions.
 * Only a resampler's tokens are not those of `prompt`. It has no words. */
void prompt_for_projector(struct prompt *out, const struct prompt *prompt, const struct model_config *config);

/* The prompt as a text-only drafter reads it: its words, at plain 1-D positions. It may have none. */
void prompt_without_pictures(struct prompt *out, const struct prompt *prompt);

void prompt_copy(struct prompt *out, const struct prompt *prompt);

/* The text of a conversation with one placeholder per picture, for people to read (not for prompt_make: it would parse what the
 * turns say). malloc'ed. */
int prompt_render(char **text, const struct model_config *config, const struct prompt_turn *turns, int n_turns, struct error *err);

void prompt_free(struct prompt *prompt);

#endif
