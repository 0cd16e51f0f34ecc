// Makes the card known to the browser and to Home Assistant's list of cards.

import { DoorstepCard } from './card.js';
import { DoorstepCardEditor } from './editor.js';
import { doorbellOfEntity } from './entities.js';

const TYPE = 'doorstep-card';

// A dashboard may load this file twice, as a resource and by the integration.
if (!customElements.get(TYPE)) {
  customElements.define(TYPE, DoorstepCard);
  customElements.define(`${TYPE}-editor`, DoorstepCardEditor);
  window.customCards ??= [];
  window.customCards.push({
    type: TYPE,
    name: 'Doorstep',
    description: 'A doorbell: live picture, hold to talk, quick replies, rings and doors.',
    preview: true,
    getEntitySuggestion(hass, entity) {
      const doorbell = doorbellOfEntity(hass, entity);
      return doorbell ? { config: { type: `custom:${TYPE}`, doorbell } } : null;
    },
  });
}
