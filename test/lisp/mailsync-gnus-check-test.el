;;; mailsync-gnus-check-test.el --- Tests of checks of Gnus's groups  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What a check of a group finds, with mailsync's methods and Gnus's own.

;;; Code:

(require 'mailsync-gnus-test-helper)

;;;; A check

(defun mailsync-gnus-test--transcript (backend method)
  "What BACKEND with the check METHOD makes of a series of changes."
  (let ((steps nil)
        (mailsync-gnus-check-method method)
        (folders '("folder000" "list0/sub002" "INBOX")))
    (mailsync-gnus-test--with (list backend) folders
      (cl-flet ((step (what &rest changes)
                  (setq mailsync-gnus-test--hooks nil)
                  (let ((answer (apply #'mailsync-gnus-test--check changes)))
                    (push (list what
                                (car answer)
                                (mapcar (lambda (change)
                                          (list (plist-get change :folder)
                                                (mapcar #'cdr (plist-get change :groups))))
                                        (cadr answer))
                                (reverse mailsync-gnus-test--hooks)
                                (mapcar (lambda (folder)
                                          (let ((group (mailsync-gnus-test--group
                                                        backend folder)))
                                            (list (fixture-unread group)
                                                  (string-replace
                                                   mailsync-gnus-test--name "NAME"
                                                   (fixture-line group)))))
                                        folders))
                          steps))))
        (step 'nothing (mailsync-gnus-test--change "folder000" 'unknown))
        (mailsync-gnus-test--deliver "folder000")
        (step 'one (mailsync-gnus-test--change "folder000" 'new))
        (dotimes (_ 2) (mailsync-gnus-test--deliver "list0/sub002"))
        (mailsync-gnus-test--deliver "INBOX")
        (step 'three (mailsync-gnus-test--change "list0/sub002" 'new)
              (mailsync-gnus-test--change "INBOX" 'new))
        (mailsync-gnus-test--mark-seen
         (car (mailsync-gnus-test--unseen "INBOX")))
        (step 'read-elsewhere (mailsync-gnus-test--change "INBOX" 'flags))
        (step 'again (mailsync-gnus-test--change "INBOX" 'unknown)
              (mailsync-gnus-test--change "folder000" 'flags))
        (should-not (cl-find-if (lambda (line) (string-match-p "error" line))
                                mailsync-gnus-test--log))))
    (nreverse steps)))

(defun mailsync-gnus-test--compare (backend)
  "Compare the two check methods over BACKEND."
  (let ((parts (mailsync-gnus-test--transcript backend 'parts))
        (command (mailsync-gnus-test--transcript backend 'command)))
    ;; That they are equal proves little if nothing happens in them.
    (should (equal (mapcar (lambda (step) (nth 2 step)) parts)
                   (let ((n (caar (nth 4 (car parts))))
                         (sub (car (nth 1 (nth 4 (car parts)))))
                         (inbox (car (nth 2 (nth 4 (car parts))))))
                     `(nil
                       (("folder000" ((,n ,(1+ n)))))
                       (("list0/sub002" ((,sub ,(+ 2 sub))))
                        ("INBOX" ((,inbox ,(1+ inbox)))))
                       nil nil))))
    (should (equal (mapcar (lambda (step) (nth 3 step)) parts)
                   (let ((both '(gnus-get-new-news-hook
                                 gnus-after-getting-new-news-hook)))
                     `(nil ,both ,both nil nil))))
    (cl-mapc (lambda (one other) (should (equal one other))) parts command)))

(ert-deftest mailsync-gnus-test-methods-agree-nnmaildir ()
  (mailsync-gnus-test--compare 'nnmaildir))

(ert-deftest mailsync-gnus-test-imap-insert ()
  "What a server says gets into the buffer as by Emacs's own filter."
  (let ((run (lambda (filter where)
               (with-temp-buffer
                 (set-buffer-multibyte nil)
                 (let ((process (make-pipe-process :name "insert" :noquery t
                                                   :buffer (current-buffer)
                                                   :coding 'binary)))
                   (unwind-protect
                       (progn
                         (insert "0123456789")
                         (set-marker (process-mark process) 6)
                         (goto-char where)
                         (when (= where 9) (narrow-to-region 8 10))
                         (dolist (text '("a\r\n" "\344\377" ""))
                           (funcall filter process text))
                         (list (point)
                               (marker-position (process-mark process))
                               (save-restriction (widen) (buffer-string))))
                     (delete-process process)))))))
    (dolist (where '(1 5 6 7 9 11))
      (should (equal (funcall run #'mailsync-gnus--imap-insert where)
                     (funcall run #'internal-default-process-filter where))))
    ;; One whose buffer is gone.
    (let* ((buffer (generate-new-buffer " *insert*"))
           (process (make-pipe-process :name "insert" :noquery t :buffer buffer)))
      (let ((kill-buffer-query-functions nil))
        (set-process-buffer process nil)
        (kill-buffer buffer))
      (unwind-protect
          (mailsync-gnus--imap-insert process "x")
        (delete-process process)))))

(ert-deftest mailsync-gnus-test-methods-agree-nnimap ()
  (mailsync-gnus-test--compare 'nnimap))

(ert-deftest mailsync-gnus-test-both-back-ends ()
  "A folder that two servers show is checked on both."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000")
    (mailsync-gnus-test--deliver "folder000")
    (let ((answer (mailsync-gnus-test--check
                   (mailsync-gnus-test--change "folder000" 'new))))
      (should (equal (car answer) '(("folder000" . checked))))
      (should (equal (sort (mapcar #'car (plist-get (car (cadr answer)) :groups))
                           #'string<)
                     (list (mailsync-gnus-test--group 'nnimap "folder000")
                           (mailsync-gnus-test--group 'nnmaildir "folder000")))))))

(ert-deftest mailsync-gnus-test-catch-up ()
  "Flags that came with new mail are found in a longer idle moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 1 (plist-get (mailsync-gnus-status) :catch-up)))
      (setq mailsync-gnus-catch-up-delay 0)
      (mailsync-gnus--arm)
      (mailsync-gnus-test--wait (= (fixture-unread group) before))
      (should (= 0 (plist-get (mailsync-gnus-status) :catch-up)))
      ;; A full check leaves nothing to catch up with.
      (setq mailsync-gnus-catch-up-delay 1000)
      (mailsync-gnus-test--check
       (mailsync-gnus-test--change "folder000" 'new 'flags))
      (should (= 0 (plist-get (mailsync-gnus-status) :catch-up))))))

(ert-deftest mailsync-gnus-test-catch-up-costly ()
  "A look in full that takes long waits for a longer idle moment."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((costly (mailsync-gnus-test--group 'nnmaildir "folder000"))
          (cheap (mailsync-gnus-test--group 'nnmaildir "folder001"))
          (idle 5)
          (checked nil))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'unknown)
                                 (mailsync-gnus-test--change "folder001" 'unknown))
      (should (floatp (gethash costly mailsync-gnus--costs)))
      (puthash costly 0.3 mailsync-gnus--costs)
      (dolist (folder '("folder000" "folder001"))
        (mailsync-gnus-test--deliver folder))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)
                                 (mailsync-gnus-test--change "folder001" 'new))
      (maphash (lambda (_ entry) (setcar entry (- (float-time) 1000)))
               mailsync-gnus--catch-up)
      (let ((mailsync-gnus-catch-up-delay 10))
        (cl-letf (((symbol-function 'mailsync-gnus--idle) (lambda () idle))
                  ((symbol-function 'mailsync-gnus--check-group)
                   (lambda (group &rest _)
                     (push group checked)
                     (list group 'checked 1 1))))
          (should-not (mailsync-gnus--catch-up-wait))
          (setq idle 10)
          (should (eql (mailsync-gnus--catch-up-wait) 0))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list cheap)))
          (should (< 49 (mailsync-gnus--catch-up-wait) 51))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list cheap)))
          (setq idle 60)
          (should (eql (mailsync-gnus--catch-up-wait) 0))
          (mailsync-gnus--catch-up-one)
          (should (equal checked (list costly cheap)))
          (should-not (mailsync-gnus--catch-up-wait)))))))

(ert-deftest mailsync-gnus-test-echo ()
  "That nnmaildir moves a new message to cur/ brings no full look at once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (catch-up (lambda () (plist-get (mailsync-gnus-status) :catch-up))))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (should (= (fixture-unread group) (1+ before)))
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--look "folder000"))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 1 (funcall catch-up)))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check (mailsync-gnus-test--look "folder000" 'new))
      (should (= (fixture-unread group) (+ 2 before)))
      (should (= 1 (funcall catch-up)))
      ;; Flags that another program has changed are seen at once, also where
      ;; somebody else says that the reader has looked.
      (mailsync-gnus-test--check
       (mailsync-change-merge (mailsync-gnus-test--change "folder000" 'flags 'new)
                              (mailsync-gnus-test--look "folder000")))
      (should (= (fixture-unread group) (1+ before)))
      (should (= 0 (funcall catch-up)))
      ;; Without new mail the reader was another one.
      (mailsync-gnus-test--mark-seen
       (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--look "folder000"))
      (should (= (fixture-unread group) before)))))

(ert-deftest mailsync-gnus-test-waits-for-no-disk ()
  "What nnmaildir notes about a new message need not be on the disk at once."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (write-region-inhibit-fsync nil)
           (seen nil)
           (look (lambda (&rest _) (push write-region-inhibit-fsync seen))))
      (mailsync-gnus-test--deliver "folder000")
      (advice-add 'write-region :before look)
      (unwind-protect
          (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (advice-remove 'write-region look))
      (should (= (fixture-unread group) (1+ before)))
      (should seen)
      (should-not (memq nil seen))
      (should-not write-region-inhibit-fsync))))

(ert-deftest mailsync-gnus-test-vanished ()
  "Unread messages that another program deleted are no longer counted."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group)))
      (should (> before 0))
      (delete-file (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
      (should (= (fixture-unread group) before)) ; hence the kind matters
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) (1- before)))
      ;; Nor is one that came at the same time lost.
      (delete-file (car (mailsync-gnus-test--unseen "folder000")))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check
       (mailsync-gnus-test--change "folder000" 'gone 'new))
      (should (= (fixture-unread group) (1- before)))
      ;; nnmaildir thinks that one which was read is unread now.
      (delete-file (car (cl-set-difference
                         (mailsync-gnus-test--files "folder000")
                         (mailsync-gnus-test--unseen "folder000")
                         :test #'equal)))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) (1- before)))
      ;; All of them.
      (mapc #'delete-file (mailsync-gnus-test--files "folder000"))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'gone))
      (should (= (fixture-unread group) 0)))))

(ert-deftest mailsync-gnus-test-renamed-by-a-syncer ()
  "A message that a syncer renames when it has sent it counts once, at once.
That is also so right after the message came, when nnmaildir renames it
too; while that is no reason for a look in full."
  (dolist (origins '((local) (sync)))
    (mailsync-gnus-test--with '(nnmaildir) '("folder000")
      (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
             (before (fixture-unread group))
             (catch-up (lambda () (plist-get (mailsync-gnus-status) :catch-up))))
        (dotimes (_ 2)
          (mailsync-gnus-test--deliver "folder000" "sent"))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
        (mailsync-gnus-test--check (mailsync-gnus-test--look "folder000"))
        (should (= (fixture-unread group) (+ before 2)))
        (should (= 1 (funcall catch-up)))
        ;; As mbsync does; the kernel calls it a rename, and so it is no `gone'.
        (dolist (file (mailsync-gnus-test--unseen "folder000"))
          (when (string-search ".fixture" file)
            (rename-file file (string-replace ".fixture" ".fixture,U=1" file))))
        (mailsync-gnus-test--check
         (plist-put (mailsync-gnus-test--change "folder000" 'flags)
                    :origins origins))
        (should (= (fixture-unread group) (+ before 2)))
        (should (= 0 (funcall catch-up)))
        ;; What it brings is counted like any other mail.
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-test--check
         (plist-put (mailsync-gnus-test--change "folder000" 'new)
                    :origins '(sync)))
        (mailsync-gnus-test--deliver "folder000")
        (mailsync-gnus-test--check
         (plist-put (mailsync-gnus-test--look "folder000" 'new)
                    :origins '(local sync)))
        (should (= (fixture-unread group) (+ 4 before)))
        (should (= 1 (funcall catch-up)))))))

(ert-deftest mailsync-gnus-test-vanished-many ()
  "However many vanished, nnmaildir forgets them, a few in one go."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (mailsync-gnus--vanished-time 0)
           (vanished 0)
           (checks 0))
      (dotimes (i 700)
        (write-region (format "Subject: %d\nMessage-ID: <%d@many>\n\n" i i) nil
                      (expand-file-name
                       (format "cur/%d.many:2," (+ 1000 i))
                       (mailsync-gnus-test--directory "folder000"))
                      nil 'silent))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'unknown))
      (should (= (fixture-unread group) (+ before 700)))
      (dolist (file (mailsync-gnus-test--files "folder000"))
        (when (string-match-p "[05]\\.many" file)
          (delete-file file)
          (setq vanished (1+ vanished))))
      (should (> vanished (* 10 mailsync-gnus--vanished-few)))
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report)
                    ;; The count does not wait for it.
                    (should (= (fixture-unread group)
                               (- (+ before 700) vanished)))
                    (setq checks (1+ checks))
                    report)
                  '((name . many)))
      (unwind-protect
          (mailsync-gnus-test--check
           (mailsync-gnus-test--change "folder000" 'gone))
        (advice-remove 'mailsync-gnus--check-group 'many))
      (should (= (fixture-unread group) (- (+ before 700) vanished)))
      (should (= checks (/ vanished mailsync-gnus--vanished-few))))))

(defun mailsync-gnus-test--imap (folder &rest commands)
  "Do what another IMAP client does: select FOLDER and send COMMANDS."
  (let ((process (make-network-process
                  :name "other-client" :host "127.0.0.1"
                  :service mailsync-gnus-test--imap-port :noquery t
                  :buffer (generate-new-buffer " *other-client*"))))
    (unwind-protect
        (with-current-buffer (process-buffer process)
          (dolist (command (append `("LOGIN user any"
                                     ,(concat "SELECT " folder))
                                   commands '("LOGOUT")))
            (process-send-string process (format "t %s\r\n" command))
            (mailsync-gnus-test--wait
             (save-excursion
               (goto-char (point-min))
               (prog1 (re-search-forward "^t OK" nil t)
                 (delete-region (point-min) (point)))))))
      (delete-process process)
      (kill-buffer (process-buffer process)))))

(defun mailsync-gnus-test--number-of (group file)
  "The number in GROUP of the message in FILE, by the corpus's numbering."
  (if (string-prefix-p "nnimap" group)
      (mailsync-gnus-test--uid file)
    (nnmaildir-base-name-to-article-number
     (car (split-string (file-name-nondirectory file) ":"))
     (gnus-group-real-name group) mailsync-gnus-test--name)))

(defun mailsync-gnus-test--uid (file)
  "The UID of the message in FILE of the corpus, new to its server."
  (- (string-to-number (substring (file-name-nondirectory file) 0 10))
     1599999999))

(defun mailsync-gnus-test--flag (backend folder file flags)
  "Give the message in FILE of FOLDER just FLAGS, as another client of BACKEND.
FILE is what the name would be without flags."
  (if (eq backend 'nnimap)
      (mailsync-gnus-test--imap
       folder
       (format "UID STORE %d FLAGS.SILENT (%s)"
               (mailsync-gnus-test--uid file)
               flags))
    (rename-file (car (file-expand-wildcards (concat file "*")))
                 (concat file (mapconcat (lambda (flag)
                                           (pcase flag
                                             ("\\Answered" "R")
                                             ("\\Flagged" "F")
                                             ("\\Seen" "S")))
                                         (split-string flags)
                                         "")))))

(ert-deftest mailsync-gnus-test-flagged-elsewhere ()
  "What another program does to flags shows; it is no message that vanished."
  (dolist (backend '(nnmaildir nnimap))
    (mailsync-gnus-test--with (list backend) '("folder000")
      (let* ((group (mailsync-gnus-test--group backend "folder000"))
             (before (fixture-unread group))
             (file (car (mailsync-gnus-test--unseen "folder000"))))
        (pcase-dolist (`(,flags ,expected)
                       `(("\\Answered" 0)
                         ("\\Seen" -1)
                         ("" 0)
                         ;; Ticked: where nnimap counts it as read.
                         ("\\Flagged" ,(if (eq backend 'nnimap) -1 0))
                         ("" 0)
                         ("\\Answered \\Seen" -1)
                         ("\\Answered" 0)))
          (mailsync-gnus-test--flag backend "folder000" file flags)
          ;; After the first, nothing has changed.
          (dolist (kind '(flags unknown gone))
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" kind))
            (should (equal (list backend flags kind (fixture-unread group))
                           (list backend flags kind (+ before expected))))))
        ;; Nor is there a mark left.
        (dolist (mark '(tick reply))
          (should (equal (mailsync-gnus--in-range-p
                          (mailsync-gnus-test--number-of group file)
                          (cdr (assq mark (gnus-info-marks
                                           (gnus-get-info group)))))
                         (eq mark 'reply))))))))

(ert-deftest mailsync-gnus-test-new-folder ()
  "A folder is checked from the moment that Gnus shows it, not before."
  (mailsync-gnus-test--with '(nnmaildir) '("INBOX")
    (let ((directory (mailsync-gnus-test--directory "brand/new"))
          (group (mailsync-gnus-test--group 'nnmaildir "brand/new")))
      (dolist (sub '("cur" "new" "tmp"))
        (make-directory (expand-file-name sub directory) t))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change
                            "brand/new" 'folder-created)))
                     '(("brand/new" . no-group))))
      (should (equal (plist-get (mailsync-gnus-status) :left-alone)
                     '(("brand/new" . "no group in Gnus"))))
      (make-symbolic-link directory
                          (expand-file-name "server/brand.new"
                                            mailsync-gnus-test--dir))
      (gnus-subscribe-group group nil (gnus-group-method group))
      (gnus-activate-group group 'scan)
      (mailsync-gnus-test--deliver "brand/new")
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "brand/new" 'new)))
                     '(("brand/new" . checked))))
      (should (= 1 (fixture-unread group)))
      (should-not (plist-get (mailsync-gnus-status) :left-alone)))))

(ert-deftest mailsync-gnus-test-moved-link ()
  "A group whose link was turned to another folder is found there."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'flags))
    (let ((link (expand-file-name "server/folder000" mailsync-gnus-test--dir)))
      (delete-file link)
      (make-symbolic-link (mailsync-gnus-test--directory "folder001") link))
    (should (equal (car (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder001" 'new)))
                   '(("folder001" . checked))))))

(ert-deftest mailsync-gnus-test-many-arrivals ()
  "Many new messages in one folder are taken in little by little."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (other (mailsync-gnus-test--group 'nnmaildir "folder001"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000")))
           (count (+ 2 (* 3 mailsync-gnus--arrivals-max)))
           (reports nil))
      (dotimes (i count)
        (write-region (format "Subject: %d\nMessage-ID: <%d@many>\n\n" i i) nil
                      (expand-file-name (format "%d.many" (+ 1000 i)) new)
                      nil 'silent))
      (mailsync-gnus-test--deliver "folder001")
      (advice-add 'mailsync-gnus--check-group :filter-return
                  (lambda (report) (push report reports) report)
                  '((name . many)))
      (unwind-protect
          (let ((answer (mailsync-gnus-test--check
                         (mailsync-gnus-test--change "folder000" 'new 'flags)
                         (mailsync-gnus-test--change "folder001" 'new))))
            (should (equal (car answer) '(("folder000" . checked)
                                          ("folder001" . checked))))
            (should (equal (plist-get (car (cadr answer)) :groups)
                           `((,group ,before ,(+ before count))))))
        (advice-remove 'mailsync-gnus--check-group 'many))
      (should (equal (mapcar (lambda (report) (list (nth 0 report) (nth 1 report)))
                             (nreverse reports))
                     ;; And the other need not wait for all of them.
                     `((,group partial) (,other checked) (,group partial)
                       (,group partial) (,group checked))))
      (should (equal (directory-files new nil "\\`[^.]") nil))
      ;; In the order in which they came.
      (with-current-buffer nntp-server-buffer
        (gnus-retrieve-headers
         (number-sequence (- (cdr (gnus-active group)) (1- count))
                          (cdr (gnus-active group)))
         group)
        (should (equal (cl-loop for line in (split-string (buffer-string) "\n" t)
                                collect (nth 1 (split-string line "\t")))
                       (cl-loop for i below count collect (number-to-string i)))))
      ;; The same at once.
      (dotimes (i count)
        (write-region (format "Subject: %d\nMessage-ID: <%d@more>\n\n" i i) nil
                      (expand-file-name (format "%d.more" (+ 2000 i)) new)
                      nil 'silent))
      (should (equal (mailsync-gnus-check group) `((,group . checked))))
      (should (= (fixture-unread group) (+ before count count))))))

(ert-deftest mailsync-gnus-test-arrivals-that-do-not-end ()
  "Mail that comes faster than it is taken in makes no slice longer."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000")))
           (batch (+ 2 mailsync-gnus--arrivals-max))
           (delivered 0)
           (rounds nil))
      (cl-flet ((deliver ()
                  (dotimes (_ batch)
                    (write-region "Subject: x\n\n" nil
                                  (expand-file-name
                                   (format "%d.stream" (+ 1000 (cl-incf delivered)))
                                   new)
                                  nil 'silent))))
        (deliver)
        (advice-add 'mailsync-gnus--check-group :filter-return
                    (lambda (report)
                      (push (nth 3 report) rounds)
                      (when (< (length rounds) 5) (deliver))
                      report)
                    '((name . stream)))
        (unwind-protect
            (mailsync-gnus-test--check
             (mailsync-gnus-test--change "folder000" 'new))
          (advice-remove 'mailsync-gnus--check-group 'stream)))
      (should (= (fixture-unread group) (+ before delivered)))
      (should (= delivered (* 5 batch)))
      (cl-loop for (later earlier) on rounds while earlier
               do (should (<= (- later earlier) mailsync-gnus--arrivals-max))))))

(ert-deftest mailsync-gnus-test-arrivals-from-the-future ()
  "Messages that nnmaildir does not take in yet make no endless loop."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (before (fixture-unread group))
           (new (expand-file-name "new"
                                  (mailsync-gnus-test--directory "folder000"))))
      (dotimes (i 40)
        (let ((file (expand-file-name (format "%d.future" (+ 1000 i)) new)))
          (write-region "Subject: x\n\n" nil file nil 'silent)
          (when (< i 35)
            (set-file-times file (time-add nil 100000)))))
      (should (equal (car (mailsync-gnus-test--check
                           (mailsync-gnus-test--change "folder000" 'new)))
                     '(("folder000" . checked))))
      (should (= (fixture-unread group) (+ before 5))))))

;;;; Splitting, and groups of groups

(defun mailsync-gnus-test--split (method)
  "Mail in the inbox of a server that splits is split, then counted, by METHOD."
  (mailsync-gnus-test--with '(nnimap) '("INBOX")
    (let ((mailsync-gnus-check-method method)
          (port mailsync-gnus-test--imap-port))
      (with-current-buffer gnus-group-buffer (gnus-group-exit))
      (setq mailsync-gnus-test--name (concat mailsync-gnus-test--name "split")
            mailsync-gnus-test--accounts
            `(("home" :gnus-server ,mailsync-gnus-test--name)))
      (fixture-configure (expand-file-name "home" mailsync-gnus-test--dir)
                         mailsync-gnus-test--name nil port)
      (setcdr (last (car gnus-secondary-select-methods))
              (list '(nnimap-inbox "INBOX")
                    '(nnimap-split-methods (("folder000" "^Subject:.*list")
                                            ("INBOX" "")))))
      (let* ((inbox (mailsync-gnus-test--group 'nnimap "INBOX"))
             (list (mailsync-gnus-test--group 'nnimap "folder000"))
             inboxed listed answer)
        (fixture-start inbox list)
        ;; What the corpus left in the inbox.
        (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
        (setq inboxed (fixture-unread inbox)
              listed (fixture-unread list)
              nnmail-split-history '((("before" . 1))))
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (mailsync-gnus-test--deliver "INBOX" "to me")
        (setq answer (mailsync-gnus-test--check
                      (mailsync-gnus-test--change "INBOX" 'new)))
        (should (equal (car answer) '(("INBOX" . checked))))
        (should (equal (list (fixture-unread inbox) (fixture-unread list))
                       (list (1+ inboxed) (1+ listed))))
        (should (equal (sort (copy-sequence
                              (plist-get (car (cadr answer)) :groups))
                             (lambda (a b) (string< (car a) (car b))))
                       `((,inbox ,inboxed ,(1+ inboxed))
                         (,list ,listed ,(1+ listed)))))
        (should (equal (car (last nnmail-split-history)) '(("before" . 1))))
        (should (= 1 (cl-count '(("before" . 1)) nnmail-split-history
                               :test #'equal)))
        (should (cdr nnmail-split-history))
        ;; Another folder splits nothing.
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (mailsync-gnus-test--check
         (mailsync-gnus-test--change "folder000" 'new))
        (should (= (fixture-unread list) (1+ listed)))
        (let ((mailsync-gnus-split nil))
          (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
          (should (= (fixture-unread inbox) (+ 2 inboxed))))
        ;; A group that gets mail and must not be checked is named.
        (setf (gnus-info-level (gnus-get-info list)) 9)
        (mailsync-gnus-test--deliver "INBOX" "to the list")
        (should-not (assoc list (plist-get (mailsync-gnus-status) :left-alone)))
        (mailsync-gnus-test--check (mailsync-gnus-test--change "INBOX" 'new))
        (should (assoc list (plist-get (mailsync-gnus-status) :left-alone)))))))

(ert-deftest mailsync-gnus-test-split-by-parts ()
  (mailsync-gnus-test--split 'parts))

(ert-deftest mailsync-gnus-test-split-by-command ()
  (mailsync-gnus-test--split 'command))

(ert-deftest mailsync-gnus-test-virtual ()
  "A virtual group follows its members."
  (mailsync-gnus-test--with '(nnmaildir nnimap) '("folder000" "folder001")
    (let* ((maildir (mailsync-gnus-test--group 'nnmaildir "folder000"))
           (imap (mailsync-gnus-test--group 'nnimap "folder000"))
           (virtual "nnvirtual:both")
           (method (list 'nnvirtual (concat "\\`" (regexp-opt (list maildir imap))
                                            "\\'")))
           before)
      (gnus-group-make-group "both" method)
      (gnus-activate-group virtual 'scan)
      (mailsync-gnus-check virtual)
      (setq before (fixture-unread virtual))
      (should (= before (+ (fixture-unread maildir) (fixture-unread imap))))
      (mailsync-gnus-test--deliver "folder000")
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (mailsync-gnus-test--wait (= (fixture-unread virtual) (+ 2 before)))
      (should-not (plist-get (mailsync-gnus-status) :last-error)))))

(provide 'mailsync-gnus-check-test)
;;; mailsync-gnus-check-test.el ends here
