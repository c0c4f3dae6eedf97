"""The way to a split: choices of lanes, tried one after the other, and the bounds met on it."""

from collections.abc import Sequence

from bestex.errors import NoRoute
from bestex.routing.certificate import Excluded, Split, Swap
from bestex.routing.legs import LegTerms, Rules, together
from bestex.routing.task import Lane, LaneRefused, Legs, Task

_ROUNDS = 6
"""Times that legs are chosen anew, at the price that the last choice led to."""
_FEW = 16
"""Pools of which every choice is considered, where rules restrict it."""
_CLOSE = 10**7
"""A search ends when nothing can be better by a part in so many: a thousandth of a basis point."""
_ALTERNATIVES = 3
"""Pools that are tried in the place of a leg, where rules restrict the choice."""


class Search:
    """One split, on its way."""

    def __init__(self, task: Task, rules: Rules) -> None:
        self._task = task
        self._rules = rules
        self._restricted = rules != Rules()
        self._terms = {id(lane): rules.of(lane.pool.address) for lane in task.lanes} if self._restricted else {}
        self._best: tuple[int, Legs] | None = None
        self._tried: set[frozenset[int]] = set()
        self._sign = 1 if task.exact_in else -1
        self._least_cost = min(map(self._cost, task.lanes), default=0)
        self._most: int | None = None
        """Bound of all that fits, as far as it is known: greater is better, as in `Task.net`."""

    def bound(self) -> int:
        """The `fit_bound` of the split alone, for less work. Raises NoRoute as `run` does."""
        self._check()
        price, _ = self._task.level(self._task.lanes)
        values = self._values(price)
        self._try(self._choose(values, price))
        bound = self._bound_all(values, price, self._task.bound(sum(values), price))
        return bound if self._best is None else self._at_least_achieved(bound, self._best[1])

    def run(self) -> Split:
        """The best split that is found. Raises NoRoute."""
        self._check()
        return (self._on_one() if self._restricted else None) or self._search()

    def _on_one(self) -> Split | None:
        """All of it on the lane that begins best, if that is proven to be enough: small orders."""
        task = self._task
        lane = max(task.lanes, key=lambda lane: lane.curve.steepest)
        if not self._can_carry([lane]) or not self._fits([lane]):
            return None
        price = self._try([lane])
        values = self._values(price)
        bound = task.bound(sum(values), price)
        net_bound = self._net_bound(values, price, bound)
        if self._is_close(bound, net_bound):
            return self._result(price, bound, net_bound, bound)
        self._tried.clear()
        return None

    def _search(self) -> Split:
        task = self._task
        price, moved = task.level(task.lanes)
        values = self._values(price)
        bound = task.bound(sum(values), price)
        net_bound = fit_bound = bound
        at = price
        if self._restricted:
            net_bound = self._net_bound(values, price, bound)
            for _ in range(_ROUNDS):
                chosen = self._choose(values, at)
                if self._key(chosen) in self._tried or not self._can_carry(chosen):
                    break
                at = self._try(chosen)
                values = self._values(at)
                better = self._net_bound(values, at, bound)
                net_bound = min(net_bound, better) if task.exact_in else max(net_bound, better)
            if not self._is_close(bound, net_bound):
                self._improve(values, at)
                fit_bound = self._bound_all(values, at, bound)
                self._try_singles(values, at)
        else:
            self._try(task.lanes, moved)
            self._try_singles(values, at)
        return self._result(price, bound, net_bound, fit_bound)

    def _check(self) -> None:
        task = self._task
        if task.amount <= 0 or not 0 < task.moving <= sum(map(task.capacity, task.lanes)):
            raise self._none("The pools cannot trade this amount")

    def _is_close(self, bound: int, net_bound: int) -> bool:
        """Whether it is proven that no other choice of lanes is worth the search for it."""
        if self._best is None or self._task.extended:
            return False
        net, legs = self._best
        gross = self._gross(legs)
        most = abs(gross) // _CLOSE
        return self._sign * bound - gross <= most and self._sign * net_bound - net <= most

    def _values(self, price: int) -> list[int]:
        return [lane.curve.conjugate(price) for lane in self._task.lanes]

    def _gains(self, values: list[int], price: int) -> list[int]:
        """What each lane is worth at a price, less what it costs."""
        task = self._task
        return [
            task.worth(value, price) - self._cost(lane) if value else -self._cost(lane)
            for value, lane in zip(values, task.lanes, strict=True)
        ]

    def _cost(self, lane: Lane) -> int:
        return self._terms[id(lane)].cost if self._restricted else 0

    def _net_bound(self, values: list[int], price: int, bound: int) -> int:
        gains = sorted((gain for gain in self._gains(values, price) if gain > 0), reverse=True)
        return self._task.net_bound(sum(gains[: self._rules.limits.legs]), price, bound)

    def _choose(self, values: list[int], price: int) -> list[Lane]:
        """The lanes that are worth most at this price and fit together; enough of them to move the whole amount."""
        task = self._task
        gains = self._gains(values, price)
        chosen: list[Lane] = []
        room = 0
        for number in sorted(range(len(gains)), key=gains.__getitem__, reverse=True):
            if gains[number] <= 0 and room >= task.moving:
                break
            lane = task.lanes[number]
            if self._fits([*chosen, lane]):
                chosen.append(lane)
                room += task.capacity(lane)
        return chosen

    def _fits(self, lanes: Sequence[Lane]) -> bool:
        if not self._restricted:
            return True
        used = together([self._rules.frame, *(self._terms[id(lane)] for lane in lanes)])
        return self._rules.limits.room_for(used, len(lanes))

    def _can_carry(self, lanes: Sequence[Lane]) -> bool:
        return sum(map(self._task.capacity, lanes)) >= self._task.moving

    @staticmethod
    def _key(lanes: Sequence[Lane]) -> frozenset[int]:
        return frozenset(map(id, lanes))

    def _try(self, lanes: Sequence[Lane], moved: list[float] | None = None) -> int:
        """Split over these lanes, keep the split if it is the best so far, and return its marginal price.

        Lanes that refuse their part, mostly because it is too small to pay anything, are left out.
        """
        task = self._task
        price = 0
        while self._can_carry(lanes):
            self._tried.add(self._key(lanes))
            if moved is None:
                price, moved = task.level(lanes)
            try:
                legs = task.quotes(lanes, moved)
            except LaneRefused as refused:
                lanes = [lane for lane in lanes if lane is not refused.lane]
                moved = None
                continue
            self._keep(legs)
            break
        return price

    def _keep(self, legs: Legs) -> None:
        cost = sum(self._cost(lane) for lane, _ in legs)
        net = self._task.net(legs, cost)
        if legs and (self._best is None or net > self._best[0]):
            self._best = net, legs

    def _improve(self, values: list[int], price: int) -> None:
        """Leave out one leg, or put another pool in its place, as long as that pays."""
        gains = self._gains(values, price)
        order = sorted(range(len(gains)), key=gains.__getitem__, reverse=True)
        improved = True
        while improved and self._best is not None:
            before, legs = self._best
            used = [lane for lane, _ in legs]
            others = [lane for number in order if (lane := self._task.lanes[number]) not in used][:_ALTERNATIVES]
            for lane in used:
                rest = [other for other in used if other is not lane]
                for lanes in (rest, *([*rest, other] for other in others)):
                    if lanes and self._key(lanes) not in self._tried and self._fits(lanes):
                        self._try(lanes)
            improved = self._best[0] > before

    def _bound_all(self, values: list[int], price: int, bound: int) -> int:
        """Bound of all choices of lanes that the rules allow; `bound`: of any choice."""
        few = len(self._task.lanes) <= _FEW
        return self._try_all(values, price) if few else self._of_the_largest(values, price, bound)

    def _try_all(self, values: list[int], price: int) -> int:
        """Every choice of lanes that is allowed and could be better than the best so far; the bound of all of them."""
        task = self._task
        self._most = None if self._best is None else self._gross(self._best[1])
        order = sorted(range(len(values)), key=values.__getitem__, reverse=True)
        self._visit(((), self._rules.frame), 0, order, values, price)
        return task.bound(sum(values), price) if self._most is None else self._sign * self._most

    def _visit(
        self, begun: tuple[tuple[int, ...], LegTerms], begin: int, order: list[int], values: list[int], price: int
    ) -> None:
        """All choices of lanes that begin with these, and with what they take up.

        What does not fit does not fit with more lanes, either.
        """
        chosen, used = begun
        task, limits = self._task, self._rules.limits
        legs = limits.legs or len(order)
        total = sum(values[number] for number in chosen)
        for at in range(begin, len(order)):
            most = total + sum(values[number] for number in order[at : at + legs - len(chosen)])
            if self._is_hopeless(self._sign * task.bound(most, price), 0):
                break  # those that follow are worth less
            numbers = (*chosen, order[at])
            with_it = together((used, self._terms[id(task.lanes[order[at]])]))
            if limits.room_for(with_it, len(numbers)):
                self._weigh(numbers, values, price)
                self._visit((numbers, with_it), at + 1, order, values, price)

    def _is_hopeless(self, bound: int, cost: int) -> bool:
        """Whether such lanes raise neither the bound nor the best net."""
        return (
            self._most is not None
            and bound <= self._most
            and self._best is not None
            and bound - cost <= self._best[0] + self._least_cost
        )

    def _weigh(self, numbers: tuple[int, ...], values: list[int], price: int) -> None:
        task = self._task
        lanes = [task.lanes[number] for number in numbers]
        cost = sum(map(self._cost, lanes))
        bound = self._sign * task.bound(sum(values[number] for number in numbers), price)
        if self._is_hopeless(bound, cost):
            return
        if self._can_carry(lanes):
            own, moved = task.level(lanes)
            bound = min(bound, self._sign * task.bound(sum(lane.curve.conjugate(own) for lane in lanes), own))
            if self._key(lanes) not in self._tried and (self._best is None or bound - cost > self._best[0]):
                self._try(lanes, moved)
        elif not task.extended:
            return
        self._most = bound if self._most is None else max(self._most, bound)

    def _gross(self, legs: Legs) -> int:
        """As `Task.net`, before costs."""
        return self._task.net(legs, 0)

    def _of_the_largest(self, values: list[int], price: int, bound: int) -> int:
        """No split over as many lanes as are allowed pays more than the ones worth most at this price could."""
        worth = sorted((self._task.worth(value, price) for value in values if value), reverse=True)
        return self._task.net_bound(sum(worth[: self._rules.limits.legs]), price, bound)

    def _at_least_achieved(self, bound: int, legs: Legs) -> int:
        """The best split is one of those that are bounded, also where another way to it was found."""
        return self._sign * max(self._sign * bound, self._gross(legs))

    def _alone(self, price: int) -> int:
        """What the whole amount is worth at a price, in the terms of `Task.net`, never too little."""
        bound = self._task.bound(0, price)
        return bound + 1 if self._task.exact_in else 1 - bound

    def _try_singles(self, values: list[int], price: int) -> None:
        """Quote the pools that could beat the split alone: rounding, and costs, can make them."""
        task = self._task
        alone = self._alone(price)
        for lane, gain in zip(task.lanes, self._gains(values, price), strict=True):
            most = alone + gain
            if (self._best is None or most > self._best[0]) and self._fits([lane]) and self._can_carry([lane]):
                try:
                    self._keep([(lane, task.quote(lane, task.amount))])
                except LaneRefused:
                    continue

    def _none(self, why: str) -> NoRoute:
        reasons = "; ".join(f"{pool.venue.label} {pool.address}: {why}" for pool, why in self._task.refusals)
        return NoRoute(why + (f": {reasons}" if reasons else ""), pools=len(self._task.lanes), retryable=True)

    def _result(self, price: int, bound: int, net_bound: int, fit_bound: int) -> Split:
        task = self._task
        if self._best is None:
            raise self._none("The rules allow no legs that could trade this amount")
        legs = sorted(self._best[1], key=lambda leg: -leg[1].in_amount)
        return Split(
            swap_mode=task.swap_mode,
            in_amount=sum(quote.in_amount for _, quote in legs),
            out_amount=sum(quote.out_amount for _, quote in legs),
            legs=tuple(Swap(lane.pool, quote) for lane, quote in legs),
            bound=bound,
            cost=sum(self._cost(lane) for lane, _ in legs),
            net_bound=net_bound,
            fit_bound=self._at_least_achieved(fit_bound, legs),
            price=price,
            excluded=tuple(Excluded(pool, reason) for pool, reason in task.refusals),
        )
