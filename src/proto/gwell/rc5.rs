//! RC5-32/6 and RC5-64/6 as GWell uses them: block by block, a shorter tail in the clear (gwell reference §1.1,
//! §1.2).
