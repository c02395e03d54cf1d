/* group.c - admission, room, pictures and pulse of one worker group */
#include "coordinator/group.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/version.h"
#include "coordinator/prefix.h"

struct group *group_new(const struct link *link, double now)
{
    struct group *group = mem_new(1, sizeof *group);
    group->link = *link;
    group->opened = group->heard = now;
    group->place = -1;
    group->cache = page_cache_new();
    return group;
}

void group_free(struct group *group)
{
    if (!group)
        return;
    group->link.calls->drop(group->link.call);
    free(group->flight.spans);
    free(group->flight.release);
    free(group->flight.forget);
    free(group->release);
    free(group->forget);
    page_cache_free(group->cache);
    free(group->pictures);
    free(group);
}

int group_check(const struct identity *identity, const struct step_hello *hello, struct error *err)
{
    if (hello->protocol != STEP_PROTOCOL)
        return fail(err, "worker protocol %u, coordinator protocol %d: install the same massv on both", hello->protocol,
                    STEP_PROTOCOL);
    if (strcmp(hello->version, MASSV_VERSION) != 0)
        return fail(err, "worker version %s, coordinator version %s: install the same massv on both", hello->version,
                    MASSV_VERSION);
    if (hello->model_hash[0] != identity->fingerprint[0] || hello->model_hash[1] != identity->fingerprint[1])
        return fail(err,
                    "the worker's model %s has fingerprint %016llx%016llx, the coordinator's %s has %016llx%016llx: "
                    "--target must be the same checkpoint on both",
                    hello->model, (unsigned long long)hello->model_hash[0], (unsigned long long)hello->model_hash[1],
                    identity->model, (unsigned long long)identity->fingerprint[0], (unsigned long long)identity->fingerprint[1]);
    if (hello->ranks < 1 || hello->pages < 1 || hello->page_positions < 1 || hello->max_rows < DRAFT_TOKENS_MAX + 1)
        return fail(err, "hello: %d ranks, %d pages of %d positions, steps of %d rows: at least 1, 1, 1 and %d are needed",
                    hello->ranks, hello->pages, hello->page_positions, hello->max_rows, DRAFT_TOKENS_MAX + 1);
    int most = INT32_MAX / kv_layout_whole(&identity->layout);
    if ((int64_t)hello->pages * hello->page_positions > most)
        return fail(err, "hello: %d pages of %d positions are more than %d positions", hello->pages, hello->page_positions, most);
    return 0;
}

const char *group_fault(const struct group *group, double step_seconds, double now)
{
    if (!group->attached)
        return now - group->opened > GROUP_HELLO_SECONDS ? "it dialled in and sent no hello" : NULL;
    if (now - group->heard > GROUP_SILENCE_SECONDS)
        return "its heartbeat stopped";
    if (group->flight.id && now - group->flight.since > step_seconds)
        return "a step took longer than --step-seconds";
    return NULL;
}

int group_blocks(const struct group *group, int positions)
{
    int64_t blocks = kv_layout_blocks(&group->layout, positions, group->hello.max_rows);
    return blocks < INT32_MAX ? (int)blocks : INT32_MAX;
}

int group_blocks_all(const struct group *group)
{
    return group->hello.pages * kv_layout_whole(&group->layout);
}

int group_room(const struct group *group)
{
    return group->blocks_free + page_cache_idle(group->cache);
}

int64_t group_positions(const struct group *group, int blocks)
{
    return (int64_t)blocks * group->hello.page_positions / kv_layout_whole(&group->layout);
}

static void release_add(struct group *group, uint64_t sequence)
{
    group->release = mem_grow(group->release, (size_t)group->n_release + 1, sizeof *group->release);
    group->release[group->n_release++] = sequence;
}

static void forget_add(struct group *group, const uint64_t key[2])
{
    group->forget = mem_grow(group->forget, (size_t)group->n_forget + 1, sizeof *group->forget);
    memcpy(group->forget[group->n_forget++], key, sizeof *group->forget);
}

void group_free_blocks(struct group *group, int blocks)
{
    assert(blocks <= group_room(group));
    while (blocks > group->blocks_free) {
        uint64_t key[2];
        group->blocks_free += page_cache_evict(group->cache, key);
        forget_add(group, key);
    }
}

bool group_hold(struct group *group, struct request *request, int positions)
{
    int more = group_blocks(group, positions) - request->blocks;
    if (more > group_room(group))
        return false;
    if (more > 0) {
        group_free_blocks(group, more);
        request->blocks += more;
        group->blocks_free -= more;
    }
    return true;
}

int group_most(const struct group *group)
{
    return kv_layout_reach(&group->layout, group_blocks_all(group), group->hello.max_rows);
}

int group_reach(const struct group *group, const struct request *request)
{
    return kv_layout_reach(&group->layout, (int64_t)request->blocks + group_room(group), group->hello.max_rows);
}

static struct group_picture *picture_find(struct group *group, const uint64_t hash[2])
{
    for (int i = 0; i < group->n_pictures; i++)
        if (memcmp(group->pictures[i].hash, hash, sizeof group->pictures[i].hash) == 0)
            return &group->pictures[i];
    return NULL;
}

static void picture_use(struct group *group, const uint64_t hash[2])
{
    struct group_picture *picture = picture_find(group, hash);
    if (!picture) {
        group->pictures = mem_grow(group->pictures, (size_t)group->n_pictures + 1, sizeof *picture);
        picture = &group->pictures[group->n_pictures++];
        *picture = (struct group_picture){.hash = {hash[0], hash[1]}};
    }
    picture->uses++;
}

void group_enter(struct group *group, struct request *request, uint64_t sequence)
{
    request->group = group;
    request->sequence = sequence;
    request->computed = 0;
    request->blocks = 0;
    request->begun = false;
    prefix_adopt(group, request);
    bool held = group_hold(group, request, request_known(request) + 1);
    assert(held);
    (void)held;
    for (int i = 0; i < request->prepared.n_pictures; i++)
        picture_use(group, request->prepared.pictures[i].hash);
}

static void flight_forget(struct flight *flight, const struct request *request)
{
    for (int i = 0; i < flight->n_spans; i++)
        if (flight->spans[i].request == request)
            flight->spans[i].request = NULL;
}

void group_leave(struct group *group, struct request *request)
{
    flight_forget(&group->flight, request);
    release_add(group, request->sequence);
    group->blocks_free += request->blocks - prefix_leave(group, request);
    for (int i = 0; i < request->prepared.n_pictures; i++)
        picture_find(group, request->prepared.pictures[i].hash)->uses--;
    request->blocks = 0;
    request->group = NULL;
    request->in_flight = false;
}

static void piece_send(struct group *group, const struct step_piece *piece)
{
    struct step_message message = {.kind = STEP_PIECE, .piece = *piece};
    group->link.calls->send(group->link.call, &message);
}

void group_picture_send(struct group *group, const struct request *request, int i, int width, size_t message_limit)
{
    const struct prepared_picture *features = &request->prepared.pictures[i];
    struct group_picture *picture = picture_find(group, features->hash);
    if (picture->sent)
        return;
    picture->sent = true;
    /* Half the limit leaves room for the message around the features. */
    size_t rows = message_limit / 2 / ((size_t)width * sizeof(float));
    int at_once = rows < 1 ? 1 : rows > INT32_MAX ? INT32_MAX : (int)rows;
    for (int first = 0; first < features->rows; first += at_once) {
        int left = features->rows - first;
        piece_send(group, &(struct step_piece){.hash = {features->hash[0], features->hash[1]},
                                               .rows = features->rows,
                                               .width = width,
                                               .first = first,
                                               .n = left < at_once ? left : at_once,
                                               .features = features->target + (size_t)first * (size_t)width});
        if (left <= at_once)
            break;
    }
}

void group_pictures_forget(struct group *group)
{
    int kept = 0;
    for (int i = 0; i < group->n_pictures; i++) {
        const struct group_picture *picture = &group->pictures[i];
        if (picture->uses > 0)
            group->pictures[kept++] = *picture;
        else if (picture->sent)
            piece_send(group, &(struct step_piece){.hash = {picture->hash[0], picture->hash[1]}, .forget = true});
    }
    group->n_pictures = kept;
}

void group_refused(struct group *group)
{
    for (int i = 0; i < group->flight.n_release; i++)
        release_add(group, group->flight.release[i]);
    for (int i = 0; i < group->flight.n_forget; i++)
        forget_add(group, group->flight.forget[i]);
    group->blocks_free += page_cache_land(group->cache, false);
    group->refused = group->n_release || group->n_forget;
}

void group_finish(struct group *group, enum rpc_status status, const char *message)
{
    group->link.calls->finish(group->link.call, status, message);
}
