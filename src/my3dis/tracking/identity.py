"""Give every object one id from its first frame to its last.

Each frame, masks that a tracker carried (predictions) meet the candidates of the frame, level by level:

1. established tracks and candidates that overlap enough are one object (optimal assignment);
2. tracks that got none, and tracks asleep, are sought by place in the world, by growth or by looks;
3. tracks that one mask keeps holding together are pieces of one object, and one of them goes on;
4. a track that got none still is carried on for a while, unless another object explains where it would be;
5. a candidate that living tracks explain (a fragment, or two objects in one mask) has to persist first;
6. any other candidate is born as a new track.

Nothing here knows how masks are carried. Memory is bounded by the objects in view plus `Sleepers`.
"""

from __future__ import annotations

import numpy as np

from my3dis.tracking.association import assign, canonical_order
from my3dis.tracking.cues import FrameCues
from my3dis.tracking.decisions import IdentityOptions, IdentityStep
from my3dis.tracking.evidence import place
from my3dis.tracking.level_view import LevelView
from my3dis.tracking.lifecycle import Counts, Merge, Sleepers, Track
from my3dis.tracking.pieces import Pieces
from my3dis.tracking.rows import RowBuilder
from my3dis.types import NO_ID, MaskSet

__all__ = ["Identities", "IdentityOptions", "IdentityStep"]


class Identities:
    """The forward pass: call `observe` once per frame, in order."""

    def __init__(self, options: IdentityOptions | None = None) -> None:
        self.options = options or IdentityOptions()
        self.counts = Counts()
        self._awake: dict[int, Track] = {}
        self._asleep = Sleepers(self.options.max_sleeping)
        self._pieces = Pieces()
        self._next_id = 0
        self._step = 0
        self._frame = NO_ID
        self._dropped: list[int] = []
        self._late: list[MaskSet] = []
        self._merges: list[Merge] = []

    @property
    def retained(self) -> int:
        """Number of tracks remembered at the moment, awake and asleep."""
        return len(self._awake) + len(self._asleep)

    def observe(self, predictions: MaskSet, candidates: MaskSet | None, frame: FrameCues) -> IdentityStep:
        """Decide who is who in a frame.

        Args:
            predictions: masks from the tracker, ``track_id`` set and ``score`` the confidence.
            candidates: proposed masks, or None where none were proposed for this frame.
            frame: colours and depth of the frame.
        """
        self._dropped, self._late, self._merges = [], [], []
        self._step += 1
        self._frame = predictions.frame
        builder = RowBuilder(predictions)
        prompts = [MaskSet.empty(predictions.frame, predictions.image_size)]
        proposed = predictions.select([]) if candidates is None else self._ordered(candidates)
        awake = {track.level for track in self._awake.values()}
        for level in sorted(awake | set(proposed.level.tolist())):
            view = LevelView.of(
                level, self._awake, predictions.at_level(level), proposed.at_level(level), frame, self._step
            )
            if candidates is not None:
                self._match_known(view)
                self._join_pieces(view)
                self._follow_fragments(view)
            self._carry_on(view, builder, proposed=candidates is not None)
            if candidates is not None:
                self._begin_new(view)
                self._recognise_young(view)
                self._pieces.count_apart(view)
            prompts.append(self._collect(view, builder))
            self._retire(view, proposed=candidates is not None)
        rows, waiting, parents = builder.build()
        for track_id, parent in parents.items():
            if track_id in self._awake:
                self._awake[track_id].parent_track = parent
        for track_id, mask in waiting.items():
            self._awake[track_id].pending.append(mask)
        return IdentityStep(
            rows=rows,
            late_rows=tuple(self._late),
            prompts=MaskSet.concatenate(prompts),
            dropped=tuple(self._dropped),
            merges=tuple(self._merges),
        )

    def _ordered(self, candidates: MaskSet) -> MaskSet:
        nonempty = candidates.select(np.flatnonzero(candidates.area_px > 0))
        self.counts.empty_candidates += len(candidates) - len(nonempty)
        return nonempty.select(canonical_order(nonempty))

    def _match_known(self, view: LevelView) -> None:
        """Match established tracks by overlap, then those that got none, and sleepers, by likeness."""
        merged = view.merged()
        iou = np.where(view.established[:, None] & ~merged[None, :], view.overlaps.iou, 0.0)
        for row, column in assign(iou, self.options.iou_threshold):
            # A mask that holds much of a neighbour must not teach the track what its neighbour looks like.
            self._match(view.tracks[row], view, column, learn=view.overlaps.is_clean(row, column))
        taken = view.matched
        lost = [
            t
            for _, t in sorted(self._awake.items())
            if t.level == view.level and not t.tentative and t.track_id not in taken
        ]
        asleep = self._asleep.at_level(view.level)
        free = [column for column in view.free if not merged[column]]
        if not free or not (lost or asleep):
            return
        score = view.likeness(lost, asleep, free)
        pairs = assign(score, 0.0)
        given = {lost[row].track_id for row, _ in pairs if row < len(lost)}
        for row, index in pairs:
            if row < len(lost):
                self._match(lost[row], view, free[index], learn=True)
                continue
            track = self._asleep.take(asleep[row - len(lost)].track_id)
            self.counts.wakes += 1
            # A new track that fits the same mask was this sleeper already, before enough of it was seen.
            for i in np.flatnonzero(score[: len(lost), index]).tolist():
                if lost[i].track_id not in given and lost[i].first_frame > track.last_frame:
                    self._absorb(lost[i], track, float(score[i, index]))
                    given.add(lost[i].track_id)
            self._awake[track.track_id] = track
            self._match(track, view, free[index], learn=True)

    def _absorb(self, new: Track, old: Track, strength: float) -> None:
        """Let a track go on as an older one that ended before it began."""
        old.memory = old.memory.seen_again(new.memory)
        old.hits += new.hits
        old.last_frame, old.last_match = new.last_frame, new.last_match
        old.last_step, old.misses, old.hidden = new.last_step, new.misses, new.hidden
        self._merges.append(Merge(old=new.track_id, new=old.track_id, reason="place", strength=strength))
        self.counts.merges += 1
        self._pieces.forget(new.track_id)
        self._forget(new)

    def _join_pieces(self, view: LevelView) -> None:
        """Let one track go on where several are pieces of one object; the masks of the others stay theirs."""
        for column, (leader, *others) in self._pieces.observe(view):
            for piece in others:
                leader.memory = leader.memory.seen_again(piece.memory)
                self._pieces.forget(piece.track_id)
                self._forget(piece)
            self.counts.joined_pieces += len(others)
            self._match(leader, view, column, learn=True)

    def _match(self, track: Track, view: LevelView, column: int, *, learn: bool) -> None:
        view.owner[column] = track
        track.hits += 1
        track.misses, track.hidden = 0, False
        track.last_frame = track.last_match = self._frame
        track.last_step = self._step
        if learn and not view.is_foreign(track, column):
            track.memory = track.memory.seen_again(view.memory_of(column))

    def _carry_on(self, view: LevelView, builder: RowBuilder, *, proposed: bool) -> None:
        """Write predictions of tracks without a candidate while that is plausible."""
        options = self.options
        for row, track in enumerate(view.tracks):
            # A track that was just absorbed by a returning one goes on under that one's id.
            gone = track.track_id not in self._awake
            if gone or track.tentative or track.track_id in view.matched:
                continue
            if proposed:
                track.misses += 1
                # Frames without candidates tell nothing new: what is hidden stays so until the next that has.
                track.hidden = view.hidden(row)
            sure = float(view.predictions.score[row]) >= options.min_confidence
            remains = int(view.predictions.area_px[row]) >= options.min_remainder * track.memory.area_px
            if self._may_carry(track) and sure and remains and not track.hidden:
                builder.add_carried(view.predictions, row, track.track_id, parent_track=track.parent_track)
                view.carried.add(track.track_id)
                track.last_frame = self._frame
                self.counts.coasted += 1

    def _may_carry(self, track: Track) -> bool:
        if self.options.max_propagate is not None:
            return self._step - track.last_step <= self.options.max_propagate
        return track.misses <= self.options.max_misses

    def _follow_fragments(self, view: LevelView) -> None:
        """Match tentative tracks; those that persisted take the place of a lost guardian, or are born."""
        iou = np.zeros_like(view.overlaps.iou)
        block = np.ix_(np.flatnonzero(~view.established), np.array(view.free, np.int64))
        iou[block] = view.overlaps.iou[block]
        for row, column in sorted(assign(iou, self.options.iou_threshold), key=lambda pair: pair[1]):
            track = view.tracks[row]
            self._match(track, view, column, learn=True)
            if track.hits >= self.options.persistence:
                self._establish(track, view, column)

    def _establish(self, track: Track, view: LevelView, column: int) -> None:
        guardian = self._awake.get(track.guardian)
        if guardian is not None and guardian.last_match < track.first_frame:
            # The guardian's mask fell apart for good: its largest piece goes on under its id.
            self._discard(track)
            self._match(guardian, view, column, learn=True)
            return
        self._late.extend(track.pending)
        track.pending, track.tentative = [], False
        self.counts.births += 1

    def _begin_new(self, view: LevelView) -> None:
        for column in view.free:
            explained, guardian = view.explained(column)
            track = Track(
                track_id=self._next_id,
                level=view.level,
                first_frame=self._frame,
                last_frame=self._frame,
                last_match=self._frame,
                last_step=self._step,
                memory=view.memory_of(column),
                guardian=guardian,
                tentative=explained and self.options.persistence > 1,
            )
            self._next_id += 1
            self.counts.births += not track.tentative
            self._awake[track.track_id] = track
            view.owner[column] = track

    def _recognise_young(self, view: LevelView) -> None:
        """Merge new tracks into sleepers that show themselves to be the same, as more of them is seen."""
        young = [
            (column, track)
            for column, track in sorted(view.owner.items())
            if 1 < track.hits <= self.options.young_hits and not track.tentative
        ]
        asleep = self._asleep.at_level(view.level)
        if not young or not asleep:
            return
        columns = [column for column, _ in young]
        score, _ = place(
            [t.memory for t in asleep],
            view.candidates.select(columns),
            [view.cues[c] for c in columns],
            view.frame,
        )
        first = np.array([track.first_frame for _, track in young])
        last = np.array([t.last_frame for t in asleep])
        score[last[:, None] >= first[None, :]] = 0
        for row, index in assign(score, 0.0):
            column, new = young[index]
            old = self._asleep.take(asleep[row].track_id)
            self._absorb(new, old, float(score[row, index]))
            self._awake[old.track_id] = old
            view.owner[column] = old

    def _collect(self, view: LevelView, builder: RowBuilder) -> MaskSet:
        """Hand the matched candidates to the rows, and return them as prompts."""
        self.counts.mended += view.mend()
        columns = sorted(view.owner)
        for column in columns:
            track = view.owner[column]
            builder.add_candidate(view.candidates, column, track.track_id, waits=track.tentative)
        return view.prompts(columns)

    def _retire(self, view: LevelView, *, proposed: bool) -> None:
        """Discard fragments that did not persist, and put tracks to sleep that are gone."""
        matched = view.matched
        carried = set(view.predictions.track_id.tolist())
        here = [t for t in self._awake.values() if t.level == view.level and t.track_id not in matched]
        for track in here:
            if track.tentative and (proposed or track.track_id not in carried):
                self._discard(track)
            elif not track.tentative and not (track.track_id in carried and self._may_carry(track)):
                self._forget(track)
                crowded_out = self._asleep.add(track)
                self.counts.forgotten += crowded_out
                if crowded_out:
                    self._pieces.keep(self._awake.keys() | self._asleep.ids)

    def _discard(self, track: Track) -> None:
        self.counts.discarded_fragments += 1
        self._pieces.forget(track.track_id)
        self._forget(track)

    def _forget(self, track: Track) -> None:
        del self._awake[track.track_id]
        self._dropped.append(track.track_id)
