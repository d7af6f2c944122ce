"""The choice model by plain loops over its definition, for shops of a few items and classes."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from training.simulator.config import Preset
from training.simulator.traits import Effects, ItemTraits, LatentSpace


@dataclass
class BruteForce:
    items: ItemTraits
    effects: Effects
    latent: LatentSpace
    preset: Preset
    weekend: list[bool]
    hazard: float = 0.0
    repeat: float = 0.3
    cache: dict[tuple[object, ...], float] = field(default_factory=dict)

    @property
    def classes(self) -> list[tuple[int, int, int, int]]:
        return list(
            itertools.product(
                range(self.latent.num_personas),
                range(len(self.latent.tier_targets)),
                range(self.latent.num_tastes),
                range(self.latent.num_brand_tastes),
            )
        )

    def launched(self, day: int) -> list[int]:
        return [i for i in range(len(self.items)) if self.items.launch_day[i] <= day]

    def prior(self, age: int, gender: int) -> list[float]:
        return [
            self.effects.persona_prior[age, gender, p]
            * self.latent.tier_probs[t]
            / (self.latent.num_tastes * self.latent.num_brand_tastes)
            for p, t, _, _ in self.classes
        ]

    def category(self, c: int, persona: int, day: int, age: int, context: int, weekend: bool) -> float:
        alive = {int(self.items.category_l1[i]) for i in self.launched(day)}
        device, daypart = divmod(context, 4)
        e, share = self.effects, self.preset.persona_weight

        def raw(k: int) -> float:
            size = sum(int(l1) == k for l1 in self.items.category_l1) / len(self.items)
            base = share * e.persona_favourites[persona, k] + (1 - share) * size
            log = e.age[age, k] + e.device[device, k] + e.daypart[daypart, k] + e.weekend[int(weekend), k]
            return float(base * math.exp(log + e.category_walk[day, k]))

        return raw(c) / sum(raw(k) for k in alive) if c in alive else 0.0

    def weight(self, i: int, z: tuple[int, int, int, int], day: int, gender: int) -> float:
        _, tier, taste, brand_taste = z
        it = self.items
        log = it.popularity[i] + self.effects.popularity_walk[day, i]
        log += 1.5 * math.exp(-(day - it.launch_day[i]) / 2)
        if gender != 2 and it.gender[i] != 2:
            log += 1.2 if gender == it.gender[i] else -2.5
        log -= 0.5 * (it.price_z[i] - self.latent.tier_targets[tier]) ** 2
        log += self.effects.brand[brand_taste, it.brand[i]]
        return math.exp(log + (1.0 if it.taste[i] == taste else 0.0))

    def own(self, i: int, z: tuple[int, int, int, int], day: int, age: int, gender: int, context: int) -> float:
        """B_z(i); a context of -1 averages over contexts and weekends."""
        c = int(self.items.category_l1[i])
        rivals = [j for j in self.launched(day) if self.items.category_l1[j] == c]
        if i not in rivals:
            return 0.0
        if context >= 0:
            q = self.category(c, z[0], day, age, context, self.weekend[day])
        else:
            p = self.effects.weekend_prob
            q = sum(
                probability * share * self.category(c, z[0], day, age, x, weekend)
                for x, probability in enumerate(self.effects.context_probs)
                for weekend, share in ((False, 1 - p), (True, p))
            )
        return q * self.weight(i, z, day, gender) / sum(self.weight(j, z, day, gender) for j in rivals)

    def similar(self, last: int, day: int) -> dict[int, float]:
        it = self.items
        rivals = [j for j in range(len(it)) if j != last and it.category_l1[j] == it.category_l1[last]]

        def distance(j: int) -> float:
            d = 3.0 * (it.category_l2[j] != it.category_l2[last]) + abs(it.price_z[j] - it.price_z[last])
            return float(d + (it.taste[j] != it.taste[last]))

        nearest = sorted(rivals, key=distance)[: self.preset.num_similar]
        weights = {
            j: math.exp(0.5 * (it.popularity[j] + self.effects.popularity_walk[day, j]))
            for j in nearest
            if it.launch_day[j] <= day
        }
        total = sum(weights.values())
        return {j: w / total for j, w in weights.items()}

    def choice(
        self,
        z: tuple[int, int, int, int],
        day: int,
        age: int,
        gender: int,
        context: int,
        session: list[int],
        use_last: bool = True,
    ) -> list[float]:
        """p(i) of every item after the session's items so far."""
        eps, pi = self.preset.uniform_share, self.preset.similar_share
        launched = self.launched(day)
        similar = self.similar(session[-1], day) if session and use_last else {}
        share = pi if similar else 0.0
        raw = [0.0] * len(self.items)
        for i in launched:
            f = eps / len(launched)
            f += (1 - eps) * (1 - share) * self.own(i, z, day, age, gender, context)
            f += (1 - eps) * share * similar.get(i, 0.0)
            raw[i] = f * (self.repeat if i in session else 1.0)
        total = sum(raw)
        return [value / total for value in raw]

    def posterior(self, age: int, gender: int, days: list[int], chosen: list[list[float]]) -> list[float]:
        """p(z on the last of `days` | choices), by summing over every path of z.

        `days` has one entry more than `chosen`: the day of the choice to come; `chosen[e][z]` is the probability of
        choice e under class z.
        """
        prior = self.prior(age, gender)
        num = len(prior)
        distinct = sorted(set(days))
        mass = [0.0] * num
        for path in itertools.product(range(num), repeat=len(distinct)):
            p = prior[path[0]]
            for before, after, first, second in zip(path, path[1:], distinct, distinct[1:], strict=False):
                stays = (1 - self.hazard) ** (second - first)
                p *= stays * (before == after) + (1 - stays) * prior[after]
            on = dict(zip(distinct, path, strict=True))
            for day, probs in zip(days, chosen, strict=False):
                p *= probs[on[day]]
            mass[path[-1]] += p
        return list(np.array(mass) / sum(mass))
